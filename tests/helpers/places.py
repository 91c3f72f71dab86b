"""Where the tests, their helpers and the real data lie."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
HELPERS = TESTS / "helpers"
FIXTURES = TESTS / "fixtures"
SHARED = ROOT.parent / "shared" / "data"  # real videos and skeletons; a test that needs them skips where they are absent
