"""Reports as HTML pages and as Markdown, and their SVG charts."""
