//! Looking again for an answer that is near, before going to sleep.

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
/// fewer of the next pauses are spent so.
#[derive(Debug, Default)]
pub(crate) struct Vigil {
    length: Duration,
    pause: Pause,
    /// Pauses still to pass asleep, and how many it will be after the next vigil in vain.
    pass: u32,
    penalty: u32,
}

/// What is done with the time until something moves.
#[derive(Debug, Default)]
enum Pause {
    /// That is not decided yet.
    #[default]
    New,
    /// We look again, since then.
    Awake(Instant),
    Asleep,
}

impl Vigil {
    /// None where `length` is zero.
    pub(crate) fn new(length: Duration) -> Self {
        Self { length, ..Self::default() }
    }

    /// Something has moved.
    pub(crate) fn moved(&mut self) {
        if let Pause::Awake(_) = self.pause {
            self.penalty = 0;
        }
        self.pause = Pause::New;
    }

    /// Nothing moves, and an answer is waited for. Wakes the task if it is to look again.
    pub(crate) fn keep(&mut self, cx: &mut Context<'_>) {
        if self.length.is_zero() {
            return;
        }
        if let Pause::New = self.pause {
            self.pause = match self.pass.checked_sub(1) {
                None => Pause::Awake(Instant::now()),
                Some(pass) => {
                    self.pass = pass;
                    Pause::Asleep
                }
            };
        }
        let Pause::Awake(since) = self.pause else { return };
        if since.elapsed() < self.length {
            std::thread::yield_now();
            // It wakes us only after the runtime has looked for what is ready.
            let _pending = pin!(yield_now()).poll(cx);
        } else {
            self.pause = Pause::Asleep;
            self.penalty = (2 * self.penalty).clamp(1, MOST_PASSED);
            self.pass = self.penalty;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    /// Whether each of so many pauses, in none of which anything comes, began with a vigil.
    fn pauses_in_vain(vigil: &mut Vigil, count: usize, cx: &mut Context<'_>) -> Vec<bool> {
        let pause = |_| {
            vigil.moved();
            vigil.keep(cx);
            let was_awake = matches!(vigil.pause, Pause::Awake(_));
            while let Pause::Awake(_) = vigil.pause {
                vigil.keep(cx);
            }
            was_awake
        };
        (0..count).map(pause).collect()
    }

    #[tokio::test]
    async fn the_more_were_in_vain_the_fewer_follow_and_one_that_was_not_counts() {
        poll_fn(|cx| {
            let mut vigil = Vigil::new(Duration::from_micros(1));
            let vigils = pauses_in_vain(&mut vigil, 300, cx);
            let awake: Vec<usize> = (0..300).filter(|pause| vigils[*pause]).collect();
            assert_eq!(awake, [0, 2, 5, 10, 19, 36, 69, 134, 199, 264]);
            while let Some(_asleep) = vigil.pass.checked_sub(1) {
                vigil.moved();
                vigil.keep(cx);
            }
            vigil.length = Duration::from_secs(3600);
            vigil.moved();
            vigil.keep(cx);
            vigil.moved();
            vigil.length = Duration::from_micros(1);
            assert_eq!(pauses_in_vain(&mut vigil, 3, cx), [true, false, true]);
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn without_a_length_nothing_is_woken() {
        let mut vigil = Vigil::default();
        let kept = poll_fn(|cx| -> Poll<()> {
            vigil.keep(cx);
            Poll::Pending
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), kept).await.is_err());
        assert!(matches!(vigil.pause, Pause::New));
    }
}
