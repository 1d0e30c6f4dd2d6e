"""One stream of what a user should know."""

from cryotx_cli.events import Event, Events


def test_who_listens_late_hears_everything_once_and_in_order():
    events, early, late = Events(), [], []
    events.listen(early.append)
    events.tell(Event("one"))
    events.listen(late.append)
    events.tell(Event("two", "warning", "m.mrc"))
    assert early == late == list(events) == [Event("one"), Event("two", "warning", "m.mrc")]
    assert [str(event) for event in events] == ["one", "two"]
    assert len(events) == 2
