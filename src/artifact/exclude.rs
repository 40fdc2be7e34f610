//! The patterns of `exclude`. They mean what they mean in a `.gitignore`.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::error::ArtifactError;

/// All patterns, and which of them matched something.
pub(super) struct Exclude {
    patterns: Vec<Pattern>,
    globs: GlobSet,
}

struct Pattern {
    text: String,
    used: bool,
}

impl Exclude {
    /// Fails if a pattern is not valid.
    pub(super) fn new(patterns: &[String]) -> Result<Self, ArtifactError> {
        let mut globs = GlobSetBuilder::new();
        let mut read = Vec::new();
        for text in patterns {
            let bad = |source| ArtifactError::Exclude { pattern: text.clone(), source };
            if text.starts_with('!') {
                return Err(ArtifactError::ExcludeNegated { pattern: text.clone() });
            }
            globs.add(
                GlobBuilder::new(&anchored(text)).literal_separator(true).build().map_err(bad)?,
            );
            read.push(Pattern { text: text.clone(), used: false });
        }
        let bad = |source| ArtifactError::Exclude { pattern: patterns.join(" "), source };
        Ok(Self { patterns: read, globs: globs.build().map_err(bad)? })
    }

    /// Returns the path that a pattern matches: `path` or a directory above it.
    pub(super) fn cuts<'a>(&mut self, path: &'a str, is_dir: bool) -> Option<&'a str> {
        if self.globs.is_empty() {
            return None;
        }
        let above = path.match_indices('/').map(|(at, _)| (&path[..at], true));
        above.chain([(path, is_dir)]).find(|(part, is_dir)| self.hits(part, *is_dir)).map(|c| c.0)
    }

    pub(super) fn texts(&self) -> Vec<String> {
        self.patterns.iter().map(|pattern| pattern.text.clone()).collect()
    }

    /// Returns the patterns that matched nothing.
    pub(super) fn idle(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().filter(|pattern| !pattern.used).map(|pattern| pattern.text.as_str())
    }

    fn hits(&mut self, path: &str, is_dir: bool) -> bool {
        let mut hit = false;
        for index in self.globs.matches(path) {
            let pattern = &mut self.patterns[index];
            if is_dir || !pattern.text.ends_with('/') {
                pattern.used = true;
                hit = true;
            }
        }
        hit
    }
}

/// Returns the glob for a pattern. A pattern with a slash before its end matches from the top only;
/// any other matches at every depth.
fn anchored(pattern: &str) -> String {
    let pattern = pattern.trim_end_matches('/');
    match pattern.strip_prefix('/') {
        Some(from_top) => from_top.to_owned(),
        None if pattern.contains('/') => pattern.to_owned(),
        None => format!("**/{pattern}"),
    }
}
