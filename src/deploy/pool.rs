//! All hosts at once, but not more than the config allows.

use futures::stream::{self, StreamExt as _};

/// Runs `parts`, at most `limit` at a time. Returns their results in the order of `parts`, though a
/// slow one delays no other.
pub(super) async fn for_hosts<T>(
    limit: usize,
    parts: impl IntoIterator<Item = impl Future<Output = T>>,
) -> Vec<T> {
    let numbered = parts.into_iter().enumerate();
    let numbered = numbered.map(|(place, part)| async move { (place, part.await) });
    let mut done: Vec<_> = stream::iter(numbered).buffer_unordered(limit.max(1)).collect().await;
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}
