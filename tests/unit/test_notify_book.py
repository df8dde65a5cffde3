"""What is remembered of alerts, and of who has been told."""

from streams.notify.book import WORTH, Book, Case, Place
from tests.receiving import alert, over

T = 1_000_000


def only(book: Book, partition: int = 0) -> tuple[Place, Case]:
    (one,) = book.cases([partition])
    return one


def told(book: Book, receiver: str, now: int = T) -> None:
    place, case = only(book)
    book.tell({place: case.alert}, receiver, now)


def written(book: Book) -> list[Case | None]:
    return [case for _, case in book.changes()]


def test_of_an_alert_the_newest_record_is_kept() -> None:
    book = Book()
    for offset in range(1_000):
        firing = alert(value=float(offset))
        book.take(over(firing) if offset % 2 else firing, 0, offset, T + offset)
    assert len(book) == 1
    assert only(book)[1].alert == over(alert(value=999.0))


def test_alerts_are_told_apart_by_model_rule_severity_and_labels() -> None:
    book = Book()
    others: list[dict[str, object]] = [
        {},
        {"model": "b"},
        {"rule": "b"},
        {"severity": "b"},
        {"labels": {}},
        {"alert_id": "same labels"},
    ]
    for offset, fields in enumerate(others):
        book.take(alert(**fields), 0, offset, T)
    assert len(book) == 5


def test_the_same_record_twice_changes_nothing() -> None:
    book = Book()
    book.take(alert(), 0, 0, T)
    assert len(written(book)) == 1
    book.take(alert(), 0, 1, T + 5)
    assert not book.changed
    assert only(book)[1].noticed == T


def test_a_record_that_is_read_again_does_not_undo_a_later_one() -> None:
    book = Book()
    book.take(alert(), 0, 5, T)
    book.take(over(alert()), 0, 6, T)
    book.take(alert(), 0, 5, T)
    assert not only(book)[1].fires


def test_an_alert_that_fires_again_takes_the_place_of_the_one_before() -> None:
    book = Book()
    book.take(alert(alert_id="a"), 0, 0, T)
    book.take(alert(alert_id="b"), 0, 1, T)
    assert only(book)[1].alert.alert_id == "b"


def test_the_end_of_an_alert_whose_place_is_taken_ends_nothing() -> None:
    book = Book()
    book.take(alert(alert_id="a"), 0, 0, T)
    book.take(alert(alert_id="b"), 0, 1, T)
    book.take(over(alert(alert_id="a")), 0, 2, T)
    assert only(book)[1].alert == alert(alert_id="b")


def test_an_end_is_of_what_fired_under_its_id_whatever_else_it_says() -> None:
    book = Book()
    book.take(alert(), 0, 0, T)
    book.take(over(alert(labels={}, severity="other", value=7.0)), 0, 1, T)
    assert only(book)[1].alert == over(alert(value=7.0))


def test_the_end_of_what_does_not_fire_is_nothing() -> None:
    book = Book()
    book.take(over(alert()), 0, 0, T)
    assert (len(book), book.changed) == (0, False)
    book.take(alert(), 0, 1, T)
    book.take(over(alert()), 0, 2, T)
    book.take(over(alert(), at=1_735_800_000_000), 0, 3, T + 9)
    assert only(book)[1].noticed == T


def test_what_a_predecessor_has_written_can_be_ended() -> None:
    book, before = Book(), Book()
    before.take(alert(), 0, 7, T)
    place, case = only(before)
    book.restore(0, place.key, case)
    book.take(over(alert()), 0, 7, T)
    assert only(book)[1].fires
    book.take(over(alert()), 0, 8, T)
    assert not only(book)[1].fires


def test_a_receiver_knows_what_it_was_told_last() -> None:
    book = Book()
    book.take(alert(), 0, 0, T)
    assert not only(book)[1].knows("r")
    told(book, "r")
    assert only(book)[1].knows("r")
    book.take(over(alert()), 0, 1, T)
    assert not only(book)[1].knows("r")
    book.take(alert(alert_id="later"), 0, 2, T)
    assert not only(book)[1].knows("r")


def test_an_answer_to_an_older_record_does_not_count_for_a_newer_one() -> None:
    book = Book()
    book.take(alert(), 0, 0, T)
    place, _ = only(book)
    posted = {place: alert()}
    book.take(over(alert()), 0, 1, T)
    book.tell(posted, "r", T)
    assert not only(book)[1].knows("r")


def test_an_attempt_is_news_once() -> None:
    book = Book()
    book.take(alert(), 0, 0, T)
    place, case = only(book)
    assert book.attempt([place], "r")
    written(book)
    assert not book.attempt([place], "r")
    assert book.attempt([place], "another")
    assert case.heard == {"r", "another"}


def test_what_is_not_written_down_yet_is_to_be_before_it_is_told() -> None:
    book = Book()
    book.take(alert(), 0, 0, T)
    book.attempt([only(book)[0]], "r")
    written(book)
    book.take(over(alert()), 0, 1, T)
    assert book.attempt([only(book)[0]], "r")
    written(book)
    assert not book.attempt([only(book)[0]], "r")


def test_who_has_heard_of_an_end_has_not_heard_of_the_next_beginning() -> None:
    book = Book()
    book.take(alert(), 0, 0, T)
    book.attempt([only(book)[0]], "r")
    told(book, "r")
    book.take(over(alert()), 0, 1, T)
    told(book, "r")
    book.take(alert(alert_id="later"), 0, 2, T)
    assert only(book)[1].heard == set()


def test_hearing_the_same_again_is_written_down_rarely() -> None:
    book = Book()
    book.take(alert(), 0, 0, T)
    told(book, "r", T)
    written(book)
    told(book, "r", T + 60_000)
    assert not book.changed
    told(book, "r", T + 60_000 + WORTH)
    assert book.changed


def test_what_is_dropped_is_written_down_as_gone() -> None:
    book = Book()
    book.take(alert(), 0, 0, T)
    written(book)
    book.drop(only(book)[0])
    assert written(book) == [None]
    assert len(book) == 0


def test_a_partition_that_goes_takes_its_alerts_along() -> None:
    book = Book()
    book.take(alert(), 0, 0, T)
    book.take(alert(), 1, 0, T)
    place, case = only(book, 1)
    book.forget([1])
    assert len(book) == 1
    assert len(written(book)) == 1
    book.tell({place: case.alert}, "r", T)  # an answer that comes too late
    assert len(book) == 1


def test_silencing_makes_that_it_fires_untold_but_not_unheard() -> None:
    book = Book()
    book.take(alert(), 0, 0, T)
    book.attempt([only(book)[0]], "r")
    told(book, "r")
    written(book)
    book.unsay(*only(book))
    assert book.changed
    assert not only(book)[1].knows("r")
    assert only(book)[1].heard == {"r"}
