"""The report of a run: one HTML file, one Markdown file and their plots, all made from `results.json`.

`words` and `gate_words` spell numbers, `findings` and `limits` say what they mean, `tables` and `lineage` set them
out, `markdown` escapes, `plots` and `margins` draw, and `render` puts it all together.
"""
