"""Several models, or several sites of one, side by side: `python -m analysis compare RUN RUN ...`.

sides.py    what each has, sample by sample
paired.py   differences, paired where the samples are the same
page.py     one HTML page; run.py writes it, and the Parquet table
"""
