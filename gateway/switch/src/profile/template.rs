//! Values of header fields with variables in them: `<sip:{calling}@{local}>`.

use core::fmt;

/// Longest template, in bytes.
const LENGTH_MAX: usize = 512;

/// A value with variables, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable),
}

/// What a template can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    Trunk,
    Called,
    Calling,
    Dialled,
    Source,
    Peer,
    Local,
    Value,
}

const VARIABLES: [(&str, Variable); 8] = [
    ("trunk", Variable::Trunk),
    ("called", Variable::Called),
    ("calling", Variable::Calling),
    ("dialled", Variable::Dialled),
    ("source", Variable::Source),
    ("peer", Variable::Peer),
    ("local", Variable::Local),
    ("value", Variable::Value),
];

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// It names a variable that there is not.
    Unknown(String),
    /// A brace is not closed, or not opened.
    Brace,
    /// It is empty, too long, or holds a control character such as a line break.
    Text,
    /// `{value}` where there is no old value.
    NoValue,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                let known: Vec<String> = VARIABLES.iter().map(|(name, _)| format!("{{{name}}}")).collect();
                write!(f, "there is no variable {{{name}}}; known are {}", known.join(" "))
            }
            Self::Brace => f.write_str("a brace stands alone; write {{ and }} for braces that are meant so"),
            Self::Text => {
                write!(f, "a header value is one line of 1 to {LENGTH_MAX} bytes without control characters")
            }
            Self::NoValue => f.write_str("{value} is the value before, which only headers.rewrite has"),
        }
    }
}

impl core::error::Error for TemplateError {}

impl Template {
    /// Reads a template; `has_value` says whether there is an old value for `{value}`.
    ///
    /// # Errors
    /// [`TemplateError`] says what is wrong with it.
    pub fn new(text: &str, has_value: bool) -> Result<Self, TemplateError> {
        if text.trim().is_empty() || text.len() > LENGTH_MAX || text.chars().any(char::is_control) {
            return Err(TemplateError::Text);
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, behind) = rest[at..].split_at(1);
            if let Some(behind) = behind.strip_prefix(brace) {
                plain.push_str(brace);
                rest = behind;
                continue;
            }
            let (name, behind) =
                behind.split_once('}').filter(|_| brace == "{").ok_or(TemplateError::Brace)?;
            let (_, variable) = VARIABLES
                .iter()
                .find(|(known, _)| *known == name)
                .ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
            if *variable == Variable::Value && !has_value {
                return Err(TemplateError::NoValue);
            }
            if !plain.is_empty() {
                parts.push(Part::Text(core::mem::take(&mut plain)));
            }
            parts.push(Part::Variable(*variable));
            rest = behind;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The value, if the call has all that it names.
    pub(super) fn fill(&self, mut value: impl FnMut(Variable) -> String) -> Option<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Variable(variable) => {
                    let value = value(*variable);
                    if value.is_empty() {
                        return None;
                    }
                    out.push_str(&value);
                }
            }
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Option<String> {
        Template::new(text, true).unwrap().fill(|variable| match variable {
            Variable::Trunk => "a".into(),
            Variable::Calling => String::new(),
            other => format!("{other:?}").to_lowercase(),
        })
    }

    #[test]
    fn variables_are_filled_in() {
        assert_eq!(fill("<sip:{called}@{local}>;via={trunk}").unwrap(), "<sip:called@local>;via=a");
        assert_eq!(fill("{{x}} {value}").unwrap(), "{x} value");
        assert_eq!(fill("plain").unwrap(), "plain");
        assert_eq!(fill("<sip:{calling}@x>"), None, "the call has no calling number");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_template_of_one_line_or_none(text in ".{0,80}|[a-z{}]{0,20}") {
            if let Ok(template) = Template::new(&text, true) {
                let value = template.fill(|_| "1".into());
                proptest::prop_assert!(value.is_some_and(|value| !value.chars().any(char::is_control)));
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str, value| Template::new(text, value).unwrap_err();
        assert_eq!(error("{nonsense}", true), TemplateError::Unknown("nonsense".into()));
        assert!(error("{nonsense}", true).to_string().contains("{called}"));
        assert_eq!(error("{value}", false), TemplateError::NoValue);
        for text in ["{", "}", "{trunk", "trunk}", "{{{"] {
            assert_eq!(error(text, true), TemplateError::Brace, "{text}");
        }
        for text in ["", "  ", "a\r\nVia: x", "a\tb", &"x".repeat(513)] {
            assert_eq!(error(text, true), TemplateError::Text, "{text:?}");
        }
    }
}
