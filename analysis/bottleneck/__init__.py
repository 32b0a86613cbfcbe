"""At which stage a model loses which level of the taxonomy: `python -m analysis verdict`.

`found` reads what was measured; `readable` says how much of a level is at a site, beyond the level above it; `losses`,
where that goes missing; `bits`, what conditional probing says of it; `ruling` is the rule, `evidence` what it rests on;
`judging` does all of it for a run; `wording` and `table` print it, `run` is the command.
"""
