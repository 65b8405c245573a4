"""The report of a run: one HTML file, one Markdown file and their plots, all made from `results.json`.

`words`, `gate_words` and `measure_words` spell numbers and names. `findings`, `differences`, `gains`, `methods` and
`limits` say what they mean, `noise_words` which differences of cost are none; `tables`, `score_tables`,
`variant_tables`, `cost_table`, `waterfall_tables`, `lineage` and `generations` set them out. `plots`, `variant_plots`,
`waterfall_plots` and `margins` draw, `seen` says what is drawn, `drawings` chooses. `page` and `markdown` hold the look
of a page and escape what it prints, and `render` puts it all together.
"""
