from stream.cli.check.check import Check
from stream.cli.check.command import _conclusion


def test_what_should_be_looked_at_is_not_counted_as_in_order():
    fine, look = Check("ports", "free"), Check("clock", "not synchronised", doubtful=True)
    assert _conclusion([fine, fine]) == "all 2 in order"
    assert _conclusion([fine, look]) == "1 of 2 in order, 1 to look at"
    assert _conclusion([fine, look, Check("disk", "full", wrong=True)]) == "1 of 3 wrong"
