//! XML elements that know their file, so that what is wrong with one is told with its place.

use roxmltree::Node;

use super::source::{Error, Source};

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
