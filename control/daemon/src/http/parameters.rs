//! The query part of a URL, taken apart strictly: unknown or unusable parameters are refused by name.

use super::problem::Problem;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;

/// A URL's query as axum gives it.
pub(crate) type Given = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// Parameters not yet taken.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Checks that each one is known and there once.
    pub(crate) fn read(given: Given, known: &[&str]) -> Result<Self, Problem> {
        let Query(pairs) = given.map_err(|error| Problem::bad_request(error.to_string()))?;
        for (at, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let known = known.join(", ");
                return Err(Problem::bad_request(format!("unknown parameter {name:?}; known are: {known}")));
            }
            if pairs[..at].iter().any(|(other, _)| other == name) {
                return Err(Problem::bad_request(format!("parameter {name} is given twice")));
            }
        }
        Ok(Self(pairs))
    }

    /// Takes a parameter; `wanted` says what it should have been when `read` can't read it.
    pub(crate) fn take<T>(
        &mut self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(at) = self.0.iter().position(|(other, _)| other == name) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(at);
        match read(&value) {
            Some(value) => Ok(Some(value)),
            None => Err(Problem::bad_request(format!("{name}={value}: not {wanted}"))),
        }
    }

    /// Takes a limit between `least` and `most`.
    pub(crate) fn limit(&mut self, usual: u32, least: u32, most: u32) -> Result<u32, Problem> {
        let wanted = format!("a number from {least} to {most}");
        let read = |text: &str| text.parse().ok().filter(|limit| (least..=most).contains(limit));
        Ok(self.take("limit", &wanted, read)?.unwrap_or(usual))
    }
}
