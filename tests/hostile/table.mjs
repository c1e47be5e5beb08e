// Rows as a table with aligned columns, in Markdown.

/** `rows`: lists of texts, of which the first names the columns. */
export function table(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  const line = (cells) => `| ${cells.join(" | ")} |`;
  const padded = rows.map((row) => line(row.map((cell, i) => cell.padEnd(widths[i]))));
  return [padded[0], line(widths.map((width) => "-".repeat(width))), ...padded.slice(1)].join("\n");
}
