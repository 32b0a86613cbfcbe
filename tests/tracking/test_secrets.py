"""Secrets are taken out wherever they stand, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking.secrets import HIDDEN, Scrubber

ENVIRONMENT = {
    "OPENAI_API_KEY": "swordfish-1234",
    "DB_PASSWORD": "correct horse",
    "USE_AUTH": "yes",  # too short to be one
    "GIT_AUTHOR_NAME": "Carl Linnaeus",
    "PLAIN": "tiny",
}


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("key swordfish-1234, again swordfish-1234", "key ***, again ***"),
        ("correct horse battery", "*** battery"),
        ("yes, by Carl Linnaeus", "yes, by Carl Linnaeus"),
        ("tiny", "***"),  # named as a secret by the command
        ("https://user:pass@host/v1", "https://***@host/v1"),
        ("http://host/v1?api_key=abc&n=3&sig=x#y", "http://host/v1?api_key=***&n=3&sig=***#y"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("sk-proj-abcdefghij0123456789", HIDDEN),
        ("hf_abcdefghijklmnopqrstuvwx and ghp_abcdefghijklmnop", "*** and ***"),
        ("https://host/v1", "https://host/v1"),
        (
            "task-level, runs/model-cub200.zarr, mail me@example.org",
            "task-level, runs/model-cub200.zarr, mail me@example.org",
        ),
    ],
)
def test_text(text: str, clean: str) -> None:
    assert Scrubber(ENVIRONMENT, ["PLAIN"]).text(text) == clean


STRINGS = st.text("abcdefg 0123", max_size=6).map(lambda text: f"{text}swordfish-1234")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | STRINGS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("kswordfish-1234"), inner, max_size=2),
        max_leaves=8,
    )
)
def test_nested_values_keep_their_shape(values: object) -> None:
    clean = Scrubber(ENVIRONMENT).values(values)
    assert repr(clean) == repr(values).replace("swordfish-1234", HIDDEN)
