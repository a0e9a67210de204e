"""Profiles of how long hypothesis looks: `make test` looks briefly, `make prove` for long."""

import os

from hypothesis import settings

settings.register_profile("test", deadline=None)
settings.register_profile("prove", deadline=None, max_examples=5000, print_blob=True)
settings.load_profile(os.environ.get("HOLDOVER_PROFILE", "test"))
