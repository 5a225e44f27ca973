//! XML elements that know their file, so that what is wrong with one is told with its place: in words for who loads a
//! tree, and in Salesforce's words for who deploys it.

use std::path::PathBuf;

use roxmltree::Node;

use super::source::Source;

/// Why a source tree is no schema.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not read `{path}`")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{path}` is not XML")]
    Xml { path: String, source: roxmltree::Error },
    #[error("`{path}`: element `{element}` {problem}; hint: {hint}")]
    Invalid {
        path: String,
        element: String,
        problem: String,
        hint: &'static str,
        /// What Salesforce says to who deploys it, where that is known.
        told: Option<String>,
        /// Line and column.
        place: (u32, u32),
    },
    /// Of the deployment as a whole, in Salesforce's words.
    #[error("`{path}`: {message}")]
    Told { path: String, message: String },
    #[error("no object, field or permission set below `{path}`; hint: name the directory of `sfdx-project.json`")]
    Empty { path: PathBuf },
}

impl Error {
    /// As Salesforce tells it to who deploys.
    pub fn told(&self) -> String {
        match self {
            Self::Xml { source, .. } => format!("Error parsing file: {source}"),
            Self::Invalid { told: Some(told), .. } => told.clone(),
            Self::Invalid { element, problem, .. } => format!("{element} {problem}"),
            Self::Told { message, .. } => message.clone(),
            Self::Read { .. } | Self::Empty { .. } => self.to_string(),
        }
    }

    /// Line and column in the file.
    pub fn place(&self) -> Option<(u32, u32)> {
        match self {
            Self::Xml { source, .. } => Some((source.pos().row, source.pos().col)),
            Self::Invalid { place, .. } => Some(*place),
            Self::Read { .. } | Self::Empty { .. } | Self::Told { .. } => None,
        }
    }

    pub(super) fn telling(mut self, words: impl Into<String>) -> Self {
        if let Self::Invalid { told, .. } = &mut self {
            *told = Some(words.into());
        }
        self
    }
}

/// An XML element and the file it is from, for errors that say where.
pub(super) struct Element<'a, 'input> {
    pub source: &'a Source,
    pub node: Node<'a, 'input>,
}

impl<'a, 'input> Element<'a, 'input> {
    /// Child elements are found by local name: the namespace is the same throughout.
    pub fn children<'s>(&'s self, name: &'s str) -> impl Iterator<Item = Element<'a, 'input>> + 's {
        let children = self.node.children().filter(move |node| node.tag_name().name() == name);
        children.map(|node| Element { source: self.source, node })
    }

    pub fn child(&self, name: &str) -> Option<Element<'a, 'input>> {
        self.children(name).next()
    }

    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.child(name)?.node.text().map(str::trim)
    }

    pub fn required(&self, name: &str) -> Result<&'a str, Error> {
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(|| self.missing(name))
    }

    /// Absent means false.
    pub fn flag(&self, name: &str) -> Result<bool, Error> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(self.invalid(name, &format!("is `{other}`"), "write `true` or `false`")),
        }
    }

    pub fn number(&self, name: &str) -> Result<usize, Error> {
        let text = self.required(name)?;
        text.parse().map_err(|_| self.invalid(name, &format!("is `{text}`"), "write a whole number"))
    }

    pub fn missing(&self, name: &str) -> Error {
        let problem = format!("is missing in `{}`", self.node.tag_name().name());
        self.invalid(name, &problem, "add it").telling(format!("Required field is missing: {name}"))
    }

    pub fn invalid(&self, element: &str, problem: &str, hint: &'static str) -> Error {
        let node = self.child(element).map_or(self.node, |child| child.node);
        let place = node.document().text_pos_at(node.range().start);
        Error::Invalid {
            path: self.source.path.clone(),
            element: element.to_owned(),
            problem: problem.to_owned(),
            hint,
            told: None,
            place: (place.row, place.col),
        }
    }
}
