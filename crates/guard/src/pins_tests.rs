use super::*;

const TOOL: (PinKind, &str) = (PinKind::Tool, "echo");
const ONE: PinHash = PinHash([1; 32]);
const TWO: PinHash = PinHash([2; 32]);
const THREE: PinHash = PinHash([3; 32]);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis)
}

fn code(standing: Standing) -> RefusalCode {
    let Standing::Blocked(refusal, _) = standing else { panic!("{standing:?}") };
    refusal.code
}

#[test]
fn the_first_listing_ends_with_its_last_page_or_its_time() {
    let mut book = Book::default();
    assert_eq!(book.judge(PinMode::FirstUse, TOOL, &ONE, at(0)), Standing::First);
    assert_eq!(code(book.judge(PinMode::Approved, TOOL, &ONE, at(0))), RefusalCode::PinUnapproved);
    assert!(book.used(PinMode::FirstUse, TOOL, None, at(0)).is_ok());
    assert!(book.used(PinMode::Approved, TOOL, None, at(0)).is_err());
    let limit = i64::try_from(FIRST_LISTING.as_millis()).unwrap();
    book.note_first(PinKind::Tool, at(0), false);
    assert_eq!(book.judge(PinMode::FirstUse, TOOL, &ONE, at(limit)), Standing::First);
    for late in [limit + 1, -limit - 1] {
        let standing = book.judge(PinMode::FirstUse, TOOL, &ONE, at(late));
        assert_eq!(code(standing), RefusalCode::PinAdded);
    }
    book.note_first(PinKind::Tool, at(0), true);
    let standing = book.judge(PinMode::FirstUse, TOOL, &ONE, at(0));
    assert_eq!(code(standing), RefusalCode::PinAdded);
    // Other kinds are listed by themselves.
    let prompt = (PinKind::Prompt, "echo");
    assert_eq!(book.judge(PinMode::FirstUse, prompt, &ONE, at(0)), Standing::First);
}

#[test]
fn a_change_is_blocked_even_within_the_first_listing_and_until_it_is_approved_or_undone() {
    let mut book = Book::default();
    book.note_first(PinKind::Tool, at(0), false);
    book.approve(TOOL.0, TOOL.1, ONE);
    for mode in [PinMode::FirstUse, PinMode::Approved] {
        assert_eq!(book.judge(mode, TOOL, &ONE, at(1)), Standing::Approved(false));
        let Standing::Blocked(refusal, false) = book.judge(mode, TOOL, &TWO, at(1)) else {
            panic!("not news")
        };
        assert_eq!(refusal.code, RefusalCode::PinChanged);
        assert!(refusal.reason.contains("\"echo\"") && refusal.reason.contains("0202"));
    }
    book.note_pending(TOOL.0, TOOL.1, TWO);
    let known = book.judge(PinMode::FirstUse, TOOL, &TWO, at(1));
    assert!(matches!(known, Standing::Blocked(_, true)), "{known:?}");
    let news = book.judge(PinMode::FirstUse, TOOL, &THREE, at(1));
    assert!(matches!(news, Standing::Blocked(_, false)), "{news:?}");
    assert_eq!(book.judge(PinMode::FirstUse, TOOL, &ONE, at(1)), Standing::Approved(true));
    book.approve(TOOL.0, TOOL.1, TWO);
    assert_eq!(book.judge(PinMode::FirstUse, TOOL, &TWO, at(1)), Standing::Approved(false));
    assert_eq!(code(book.judge(PinMode::FirstUse, TOOL, &ONE, at(1))), RefusalCode::PinChanged);
}

#[test]
fn what_may_be_used_is_what_was_approved_and_was_shown() {
    let mut book = Book::default();
    book.note_first(PinKind::Tool, at(0), true);
    book.approve(TOOL.0, TOOL.1, ONE);
    let used = |book: &Book, seen: Option<&PinHash>| {
        book.used(PinMode::FirstUse, TOOL, seen, at(0)).map_err(|refusal| refusal.code)
    };
    assert_eq!(used(&book, None), Ok(()), "not every client lists first");
    assert_eq!(used(&book, Some(&ONE)), Ok(()));
    assert_eq!(used(&book, Some(&TWO)), Err(RefusalCode::PinChanged));
    book.note_pending(TOOL.0, TOOL.1, TWO);
    assert_eq!(used(&book, None), Err(RefusalCode::PinChanged), "another client saw a change");
    assert_eq!(used(&book, Some(&ONE)), Ok(()), "its own server has not changed");
    let other = (PinKind::Tool, "added");
    for seen in [None, Some(&ONE)] {
        let denied = book.used(PinMode::FirstUse, other, seen, at(0)).unwrap_err();
        assert_eq!(denied.code, RefusalCode::PinAdded);
    }
}

#[test]
fn words_are_read_as_they_are_written() {
    for kind in PinKind::ALL {
        assert_eq!(kind.as_str().parse(), Ok(kind));
    }
    assert_eq!("resource".parse::<PinKind>(), Err(()));
}

#[test]
fn of_one_name_on_one_page_only_the_approved_definition_passes() {
    let twins =
        [ONE, TWO, ONE].map(|hash| Definition { name: "echo".into(), hash, text: String::new() });
    let page = Page { kind: TOOL.0, definitions: &twins, ends: true };
    let mut book = Book::default();
    let judged = book.judge_page(PinMode::FirstUse, &page, at(0));
    assert_eq!((&judged[0], &judged[2]), (&Standing::First, &Standing::First));
    assert_eq!(code(judged[1].clone()), RefusalCode::PinChanged);
    book.approve(TOOL.0, TOOL.1, ONE);
    book.note_pending(TOOL.0, TOOL.1, TWO);
    let judged = book.judge_page(PinMode::FirstUse, &page, at(0));
    assert_eq!(judged[0], Standing::Approved(false), "not restored while the other is there");
    assert!(matches!(judged[1], Standing::Blocked(_, true)));
}
