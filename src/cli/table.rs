//! Tables for people: columns as wide as their widest cell.

/// The rows of a table, each with its line end; the first row has the names of the columns.
pub(super) fn lines<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> Vec<String> {
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; COLUMNS]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// The same in one text.
pub(super) fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    lines(rows).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [["NAME", "B"], ["яблоко", "x"], ["z", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "NAME    B\nяблоко  x\nz\n");
        assert_eq!(table::<2>(&[]), "");
    }
}
