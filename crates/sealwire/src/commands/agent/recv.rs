use std::io::Write;
use std::time::SystemTime;

use clap::Args;

use super::block_on;
use super::post::Post;
use super::readers;
use super::shown::Shown;
use crate::cli::{Context, Failure};
use crate::commands::signals;

/// Receive the messages to an agent: verify them, write them out, and then acknowledge them
///
/// Of a message that was written out and whose acknowledgement was lost, because the
/// process was killed, say, nobody knows that it was: it comes again, marked as
/// redelivered. Without --follow it ends when nothing waits.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sealwire agent recv --as General
  sealwire agent recv --as General --follow --json | while read -r message; do …; done")]
pub(super) struct Arguments {
    /// The agent of this home that receives
    #[arg(long = "as", value_name = "AGENT")]
    agent: String,
    /// Go on waiting for messages
    #[arg(long)]
    follow: bool,
    /// End after this many messages
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Write each message as one line of JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), Failure> {
    readers::require_stdout()?;
    let post = Post::open(context, &arguments.agent)?;
    block_on(async {
        let stop = signals::stop()?;
        tokio::pin!(stop);
        let mut received = 0;
        while arguments.count.is_none_or(|count| received < count) {
            let delivery = tokio::select! {
                biased;
                () = &mut stop => break,
                delivery = post.next(arguments.follow) => delivery?,
            };
            let Some(delivery) = delivery else { break };
            let shown = Shown::new(delivery.message(), delivery.content(), delivery.redelivered());
            if let Err(error) = write(&shown, arguments.json) {
                // Nobody has it, so somebody else may have it at once.
                delivery.release(SystemTime::now().into()).await.map_err(Post::failed)?;
                return Err(Failure::new("cannot write the message to standard output")
                    .because(error)
                    .fix("it was not acknowledged: receive it again"));
            }
            drop(shown);
            drop(delivery.ack().await.map_err(Post::failed)?);
            received += 1;
        }
        Ok(())
    })
}

fn write(shown: &Shown, json: bool) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    if json {
        stdout.write_all(&shown.line()?)?;
    } else {
        stdout.write_all(shown.text().as_bytes())?;
    }
    stdout.flush()
}
