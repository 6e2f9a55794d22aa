"""A map of an embedded file, colored by a column: `python examples/map.py reviews.parquet Score map.html`."""

import sys

from umekomi import color_by, project, read_table, write_page

source, column, output = sys.argv[1:4]
table = read_table(source)
found = project(table.vectors)
write_page(found.points, color_by(table.column(column), column), output, texts=table.texts(), title=source)
print(f"{output}: {len(found.points):,} points by {found.method}")
