"""The comparison of several runs of one recipe: what each changed, what came of it, and which nothing else beats.

`comparison` reads the runs' results into rows, `front` finds what no other variant beats, `run_tables` sets them out,
`front_plot` draws, and `render` puts it all together.
"""
