//! SOAP envelopes: reading a call, answering it, refusing it.
//!
//! Every client picks its own prefixes, so elements are known by namespace and local name.

use roxmltree::{Document, Node};

use super::wire::{Refusal, Reply};

const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";

/// One SOAP service: what its elements are called and how it says no.
#[derive(Clone, Copy)]
pub struct Dialect {
    /// Of the operations and their answers.
    pub namespace: &'static str,
    /// Of the detail of a fault.
    pub faults: &'static str,
    /// Element that holds the detail.
    pub fault: &'static str,
}

impl Dialect {
    /// The operation that the body asks for, and the session that the header names.
    pub fn operation<'a, 'input>(self, document: &'a Document<'input>) -> Option<(Node<'a, 'input>, Option<&'a str>)> {
        let envelope = Some(document.root_element()).filter(|root| root.has_tag_name((ENVELOPE, "Envelope")))?;
        let part = |name| envelope.children().find(move |node| node.has_tag_name((ENVELOPE, name)));
        let operation = part("Body")?.children().find(Node::is_element)?;
        let header = part("Header").and_then(|header| self.child(header, "SessionHeader"));
        let session = header.and_then(|header| self.text(header, "sessionId"));
        (operation.tag_name().namespace() == Some(self.namespace)).then_some((operation, session))
    }

    pub fn child<'a, 'input>(self, parent: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
        parent.children().find(|node| node.has_tag_name((self.namespace, name)))
    }

    pub fn text<'a>(self, parent: Node<'a, '_>, name: &str) -> Option<&'a str> {
        self.child(parent, name).map(|node| node.text().unwrap_or_default().trim())
    }

    /// Wraps the answer, whose elements have no prefix.
    pub fn reply(self, body: &str) -> Reply {
        self.envelope(200, body)
    }

    pub fn fault(self, refusal: &Refusal) -> Reply {
        let Self { faults, fault, .. } = self;
        let (code, message) = (refusal.code, escape(&refusal.message));
        self.envelope(
            500,
            &format!(
                "<soapenv:Fault><faultcode>sf:{code}</faultcode><faultstring>{code}: {message}</faultstring><detail>\
                 <sf:{fault} xmlns:sf=\"{faults}\"><sf:exceptionCode>{code}</sf:exceptionCode>\
                 <sf:exceptionMessage>{message}</sf:exceptionMessage></sf:{fault}></detail></soapenv:Fault>"
            ),
        )
    }

    fn envelope(self, status: u16, body: &str) -> Reply {
        let namespace = self.namespace;
        Reply::text(
            status,
            "text/xml;charset=UTF-8",
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope xmlns:soapenv=\"{ENVELOPE}\" \
                 xmlns=\"{namespace}\"><soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
            ),
        )
    }
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
