//! A configuration's mistakes: all of them in one report, each with line, key, and a hint.

use std::fmt;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line in the file, from 1; 0 where there is none.
    pub line: usize,
    /// The key, with dots: `pipelines.detect.source`.
    pub key: String,
    /// What is wrong. Never shows a value that may be a secret.
    pub what: String,
    /// What to do; may be empty.
    pub hint: String,
}

/// All mistakes of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes {
    /// The file, as it was named.
    pub file: String,
    /// The mistakes, in the order of their lines.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len();
        write!(f, "{}: {count} mistake{}", self.file, if count == 1 { "" } else { "s" })?;
        for mistake in &self.mistakes {
            write!(f, "\n\n{}", self.file)?;
            if mistake.line > 0 {
                write!(f, ":{}", mistake.line)?;
            }
            if !mistake.key.is_empty() {
                write!(f, ": {}", mistake.key)?;
            }
            write!(f, ": {}", mistake.what)?;
            if !mistake.hint.is_empty() {
                write!(f, "\n  hint: {}", mistake.hint)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
