//! Looking again for what may be near, before going to sleep.

use std::future::Future;
use std::pin::pin;
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::task::yield_now;

/// After vigils that were in vain, this many pauses at most pass without one.
const MOST_PASSED: u32 = 64;

/// How long whoever relays stays awake once nothing more moves.
///
/// A processor with nothing to do sleeps, and to wake one takes longer than most servers need
/// for an answer: longest in virtual machines, where the host has to do it. So for a moment we
/// look again and again, and let whoever else can run do so in between. Where that was in vain,
/// fewer of the next pauses of that kind are spent so: a server may be quick whose client thinks
/// for long, and the reverse.
#[derive(Debug, Default)]
pub(crate) struct Vigil {
    length: Duration,
    pause: Pause,
    for_answers: Luck,
    for_requests: Luck,
}

/// How vigils of one kind went.
#[derive(Debug, Default)]
struct Luck {
    /// Pauses still to pass asleep, and how many it was after the latest vigil in vain.
    pass: u32,
    penalty: u32,
}

/// What is done with the time until something moves.
#[derive(Debug, Default)]
enum Pause {
    /// That is not decided yet.
    #[default]
    New,
    /// We look again, since then; whether it is for an answer.
    Awake(Instant, bool),
    Asleep,
}

impl Vigil {
    /// None where `length` is zero.
    pub(crate) fn new(length: Duration) -> Self {
        Self { length, ..Self::default() }
    }

    /// Something has moved.
    pub(crate) fn moved(&mut self) {
        if let Pause::Awake(_, is_for_answer) = self.pause {
            self.luck(is_for_answer).penalty = 0;
        }
        self.pause = Pause::New;
    }

    /// Nothing moves. Wakes the task if it is to look again.
    pub(crate) fn keep(&mut self, is_for_answer: bool, cx: &mut Context<'_>) {
        if self.length.is_zero() {
            return;
        }
        if let Pause::New = self.pause {
            let luck = self.luck(is_for_answer);
            self.pause = match luck.pass.checked_sub(1) {
                None => Pause::Awake(Instant::now(), is_for_answer),
                Some(pass) => {
                    luck.pass = pass;
                    Pause::Asleep
                }
            };
        }
        let Pause::Awake(since, is_for_answer) = self.pause else { return };
        if since.elapsed() < self.length {
            std::thread::yield_now();
            // It wakes us only after the runtime has looked for what is ready.
            let _pending = pin!(yield_now()).poll(cx);
        } else {
            self.pause = Pause::Asleep;
            let luck = self.luck(is_for_answer);
            luck.penalty = (2 * luck.penalty).clamp(1, MOST_PASSED);
            luck.pass = luck.penalty;
        }
    }

    fn luck(&mut self, is_for_answer: bool) -> &mut Luck {
        if is_for_answer { &mut self.for_answers } else { &mut self.for_requests }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    const MOMENT: Duration = Duration::from_micros(1);
    const AGE: Duration = Duration::from_secs(3600);

    impl Vigil {
        /// Whether a pause begins with a vigil. One of a moment is over before anything comes,
        /// and one of an age is not.
        fn pause(&mut self, length: Duration, is_for_answer: bool, cx: &mut Context<'_>) -> bool {
            self.length = length;
            self.moved();
            self.keep(is_for_answer, cx);
            let is_awake = |this: &Self| matches!(this.pause, Pause::Awake(..));
            let was_awake = is_awake(self);
            while length == MOMENT && is_awake(self) {
                self.keep(is_for_answer, cx);
            }
            was_awake
        }
    }

    #[tokio::test]
    async fn the_more_were_in_vain_the_fewer_follow() {
        poll_fn(|cx| {
            let mut vigil = Vigil::new(MOMENT);
            let vigils: Vec<bool> = (0..300).map(|_| vigil.pause(MOMENT, true, cx)).collect();
            let awake: Vec<usize> = (0..300).filter(|pause| vigils[*pause]).collect();
            assert_eq!(awake, [0, 2, 5, 10, 19, 36, 69, 134, 199, 264]);
            // What is known of answers says nothing of requests.
            assert!(vigil.pause(MOMENT, false, cx));
            assert!(!vigil.pause(MOMENT, false, cx));
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn one_that_was_not_in_vain_counts_for_all_before() {
        poll_fn(|cx| {
            let mut vigil = Vigil::new(MOMENT);
            for _ in 0..10 {
                vigil.pause(MOMENT, true, cx);
            }
            while !vigil.pause(AGE, true, cx) {}
            let after = [true; 3].map(|_| vigil.pause(MOMENT, true, cx));
            assert_eq!(after, [true, false, true]);
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn without_a_length_nothing_is_woken() {
        let mut vigil = Vigil::default();
        let kept = poll_fn(|cx| -> Poll<()> {
            vigil.keep(true, cx);
            Poll::Pending
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), kept).await.is_err());
        assert!(matches!(vigil.pause, Pause::New));
    }
}
