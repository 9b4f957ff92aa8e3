//! What the callee is told of a verification: a parameter of the caller's number (3GPP TS 24.229 §7.2A.20).

use stir::Party;

/// What came of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verstat {
    Passed,
    Failed,
    /// There was nothing to verify.
    None,
}

impl Verstat {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Passed => "TN-Validation-Passed",
            Self::Failed => "TN-Validation-Failed",
            Self::None => "No-TN-Validation",
        }
    }
}

/// A From or P-Asserted-Identity field's value with the parameter in each of its URIs that names a number; where somebody
/// was verified, in those alone that name him. What was there of it before is taken out.
pub(super) fn mark(value: &str, verstat: Verstat, verified: Option<&Party>) -> String {
    let mut out = String::with_capacity(value.len() + 64);
    let mut rest = value;
    let mut quoted = false;
    let mut any = false;
    while let Some(at) = rest.find(['"', '\\', '<']) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let mut chars = after.chars();
        let found = chars.next();
        rest = chars.as_str();
        match found {
            Some('\\') if quoted => {
                out.push('\\');
                if let Some(escaped) = chars.next() {
                    out.push(escaped);
                    rest = chars.as_str();
                }
            }
            Some('<') if !quoted => {
                let Some((uri, after)) = rest.split_once('>') else {
                    out.push('<');
                    break;
                };
                any = true;
                out.push('<');
                out.push_str(&mark_uri(uri, verstat, verified));
                out.push('>');
                rest = after;
            }
            Some(other) => {
                quoted ^= other == '"';
                out.push(other);
            }
            None => break,
        }
    }
    out.push_str(rest);
    if any || value.contains(['"', '<']) {
        return out;
    }
    // Without brackets a parameter would be the field's: so brackets are put around.
    let (uri, params) = value.split_once(';').map_or((value, ""), |(uri, params)| (uri, params));
    let separator = if params.is_empty() { "" } else { ";" };
    format!("<{}>{separator}{params}", mark_uri(uri.trim(), verstat, verified))
}

fn mark_uri(uri: &str, verstat: Verstat, verified: Option<&Party>) -> String {
    let party = Party::of_uri(uri);
    let marked = matches!(party, Party::Number(_)) && verified.is_none_or(|verified| *verified == party);
    let parameter = if marked { format!(";verstat={}", verstat.word()) } else { String::new() };
    match uri.rsplit_once('@') {
        Some((user, host)) => {
            let is_phone = host.split(';').any(|param| param.eq_ignore_ascii_case("user=phone"));
            let phone = if marked && !is_phone { ";user=phone" } else { "" };
            format!("{}{parameter}@{host}{phone}", unmarked(user))
        }
        None if marked => format!("{}{parameter}", unmarked(uri)),
        None => unmarked(uri),
    }
}

/// Without the parameter.
fn unmarked(text: &str) -> String {
    let is_it = |param: &&str| !param.get(..7).is_some_and(|name| name.eq_ignore_ascii_case("verstat"));
    text.split(';').filter(is_it).collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3GPP TS 24.229 §7.2A.20
    #[test]
    fn numbers_are_marked_where_they_stand() {
        let marked = |value: &str| mark(value, Verstat::Failed, None);
        assert_eq!(
            marked("\"A <sip:1@x> \\\" B\" <sip:+1215@192.0.2.1>;tag=1"),
            "\"A <sip:1@x> \\\" B\" <sip:+1215;verstat=TN-Validation-Failed@192.0.2.1;user=phone>;tag=1"
        );
        assert_eq!(
            marked("<sip:+1215;verstat=TN-Validation-Passed;x=y@h;user=phone>, <tel:+1215;Verstat=x>"),
            "<sip:+1215;x=y;verstat=TN-Validation-Failed@h;user=phone>, <tel:+1215;verstat=TN-Validation-Failed>"
        );
        assert_eq!(marked("sip:1215@h"), "<sip:1215;verstat=TN-Validation-Failed@h;user=phone>");
        assert_eq!(marked("tel:1215;x=y"), "<tel:1215;verstat=TN-Validation-Failed>;x=y");
        for plain in
            ["<sip:alice@h>", "<sip:h>", "\"Anonymous\" <sip:anonymous@anonymous.invalid>", "<sip:1@h", ""]
        {
            let again = marked(plain);
            assert!(!again.contains("verstat"), "{plain}: {again}");
        }
    }

    #[test]
    fn only_who_was_verified_is_marked_as_such() {
        let verified = Party::Number("1215".into());
        let marked = |value: &str| mark(value, Verstat::Passed, Some(&verified));
        assert!(marked("<sip:+1-215@h>").contains(";verstat=TN-Validation-Passed@h"));
        assert_eq!(marked("<sip:911;verstat=TN-Validation-Passed@h>"), "<sip:911@h>");
    }
}
