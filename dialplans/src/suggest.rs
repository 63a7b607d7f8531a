//! "did you mean": the nearest known name by edit distance.

/// Optimal string alignment distance: insertions, deletions, replacements and swapped neighbours count one each.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows: Vec<Vec<usize>> = Vec::with_capacity(a.len() + 1);
    rows.push((0..=b.len()).collect());
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(rows[i - 2][j - 2] + 1);
            }
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// The candidate nearest to `wanted`, when it is near enough to be a slip of the pen. Very long names are not compared.
pub(crate) fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if wanted.len() > 80 {
        return None;
    }
    let letters = wanted.chars().count();
    let limit = match letters {
        0..=2 => 1,
        3..=5 => 2,
        _ => 1 + letters / 3,
    };
    let lower = wanted.to_lowercase();
    candidates
        .into_iter()
        .filter(|name| name.len() <= 80)
        .map(|name| (distance(&lower, &name.to_lowercase()), name))
        .filter(|(d, name)| *d <= limit && *d < letters.max(name.chars().count()))
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_a_slip_of_the_pen_away() {
        assert_eq!(nearest("to_agnet", ["to_agent", "main", "bye"]), Some("to_agent"));
        assert_eq!(nearest("retrys", ["retries", "prompt"]), Some("retries"));
        assert_eq!(nearest("Main", ["main"]), Some("main"));
        assert_eq!(nearest("zzz", ["main", "bye"]), None);
        assert_eq!(nearest("", ["a"]), None);
    }
}
