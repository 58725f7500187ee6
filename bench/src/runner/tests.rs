use super::*;
use std::cell::RefCell;
use std::rc::Rc;

struct Fixed(&'static str, f64, Rc<RefCell<Vec<&'static str>>>);

impl Case for Fixed {
    fn name(&self) -> &'static str {
        self.0
    }

    fn about(&self) -> &'static str {
        "counts its rounds"
    }

    fn round(&mut self, _: &Effort) -> Result<Figures> {
        self.2.borrow_mut().push(self.0);
        self.1 += 1.0;
        let mut figures = Figures::default();
        figures.insert("speed", self.1);
        if self.0 == "c" && self.1 > 1.0 {
            figures.fails.insert("size", "413".to_owned());
        } else {
            figures.insert("size", 1.0);
        }
        Ok(figures)
    }
}

fn scenario(order: &Rc<RefCell<Vec<&'static str>>>) -> Scenario {
    const RATIO: Ratio = Ratio { of: "b", to: "a" };
    let case = |name, start| Box::new(Fixed(name, start, order.clone())) as Box<dyn Case>;
    Scenario {
        name: "test",
        about: "",
        measures: vec![Measure::more("speed", "1/s", ""), Measure::less("size", "MB", "")],
        cases: vec![case("a", 0.0), case("b", 9.0), case("c", 0.0)],
        skipped: Vec::new(),
        ratios: vec![RATIO, Ratio { of: "b", to: "c" }],
        limits: vec![
            Limit::at_least(6.0, RATIO, "speed", "b is too slow"),
            Limit::at_most(0.5, Ratio { of: "b", to: "c" }, "size", "b is too large"),
            Limit::at_most(12.0, "b", "speed", "b is too fast"),
            Limit::at_most(1.0, "d", "speed", "d was not asked for"),
        ],
        versions: BTreeMap::new(),
    }
}

#[test]
fn rounds_are_interleaved_and_rotated() {
    let order = Rc::new(RefCell::new(Vec::new()));
    run(&mut scenario(&order), 3, &Effort::QUICK, |_| {}).unwrap();
    assert_eq!(*order.borrow(), ["a", "b", "c", "b", "c", "a", "c", "a", "b"]);
}

#[test]
fn ratios_are_taken_within_a_round_and_limits_on_their_median() {
    let report = run(&mut scenario(&Rc::default()), 3, &Effort::QUICK, |_| {}).unwrap();
    assert_eq!(report.ratios[0].per_round, [10.0, 11.0 / 2.0, 12.0 / 3.0]);
    assert_eq!(report.ratios[0].summary.median, 5.5);
}

#[test]
fn limits_are_on_medians_and_do_not_hold_where_there_is_none() {
    let report = run(&mut scenario(&Rc::default()), 3, &Effort::QUICK, |_| {}).unwrap();
    let checks: Vec<_> = report.checks.iter().map(|c| (c.holds, c.what.as_str())).collect();
    let expected = [
        (false, "b/a speed: 5.500, asked at least 6"),
        (false, "b/c size: not measured, asked at most 0.5"),
        (true, "b speed: 11.000, asked at most 12"),
    ];
    assert_eq!(checks, expected);
}

#[test]
fn what_fails_once_has_a_reason_and_no_figures() {
    let report = run(&mut scenario(&Rc::default()), 2, &Effort::QUICK, |_| {}).unwrap();
    let c = &report.cases[2];
    assert_eq!((c.fails["size"].as_str(), c.figures.get("size")), ("413", None));
    assert_eq!(c.figures["speed"], [1.0, 2.0]);
}

#[test]
fn of_an_answer_that_is_a_page_the_words_are_kept() {
    let mut figures = Figures::default();
    let page =
        "Error POSTing: <!DOCTYPE html>\n<head>\n<title>Error</title>\n<pre>Too\nlarge</pre>";
    figures.fail("size", page);
    assert_eq!(figures.fails["size"], "Error POSTing: Error Too large");
}
