//! One mail transaction (RFC 5321 §3.3): MAIL, RCPT for each recipient, DATA, the content, and what the replies say about each recipient.

use super::connection::{Broken, Connection, Write, failed};
use crate::mail::{Blame, Diagnosis, Envelope, Message, Outcome, Reply, Stage};
use crate::proto::smtp::command::{self, MailParameters};
use crate::proto::smtp::{Protocol, Stuffer, Verdict, verdict};
use crate::spool::reader::Outgoing;
use std::time::Duration;

/// Octets of one write of the content. A message that fits goes out in one write, with its final dot.
const WRITE_OCTETS: usize = 256 * 1024;
/// Octets that are encoded at once, so that the buffer stays near [`WRITE_OCTETS`] however large the pieces are.
const ENCODE_OCTETS: usize = 64 * 1024;

/// What is to be sent, and to which of the envelope's recipients.
pub(super) struct Mail<'a> {
    pub(super) envelope: &'a Envelope,
    pub(super) message: &'a Message,
    /// Indices into the envelope's recipients; not empty.
    pub(super) recipients: &'a [usize],
    /// An address of this transaction needs SMTPUTF8, and the server offers it.
    pub(super) smtputf8: bool,
    /// Nobody is to be told what becomes of it, where the server can be asked that (RFC 3461).
    pub(super) suppress_dsn: bool,
}

/// What became of a transaction.
#[derive(Debug)]
pub(super) struct Report {
    /// One for each of the mail's recipients, in their order.
    pub(super) outcomes: Vec<Outcome>,
    /// Recipients (indices into the envelope's) that were one too many: others were accepted in the same transaction.
    pub(super) too_many: Vec<usize>,
    /// The connection failed before the server had accepted anything of this message.
    pub(super) untouched: bool,
    /// The server accepted one recipient at least.
    pub(super) accepted: bool,
    /// What broke the connection before the final dot, if anything did.
    pub(super) trouble: Option<Diagnosis>,
}

/// Runs one transaction. Never fails: what was not answered is deferred, or unknown behind the final dot.
pub(super) async fn run(connection: &mut Connection, mail: &Mail<'_>) -> Report {
    connection.messages += 1;
    let mut progress = Progress { outcomes: vec![None; mail.recipients.len()], too_many: Vec::new(), mail_accepted: false, accepted: false };
    let trouble = dialogue(connection, mail, &mut progress).await.err();
    connection.broken |= trouble.is_some();
    let unanswered = trouble.clone().unwrap_or_else(|| failed(Stage::Content, "the transaction ended without an answer"));
    Report {
        accepted: progress.accepted,
        outcomes: progress.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Outcome::Deferred(unanswered.clone()))).collect(),
        too_many: progress.too_many,
        untouched: trouble.is_some() && !progress.mail_accepted,
        trouble,
    }
}

/// What is known so far, by position in the mail's recipients.
struct Progress {
    outcomes: Vec<Option<Outcome>>,
    too_many: Vec<usize>,
    mail_accepted: bool,
    accepted: bool,
}

impl Progress {
    fn settle(&mut self, positions: &[usize], outcome: &Outcome) {
        for &position in positions {
            self.outcomes[position] = Some(outcome.clone());
        }
    }
}

/// An error ends the connection; whoever has no outcome by then is deferred with it.
async fn dialogue(connection: &mut Connection, mail: &Mail<'_>, progress: &mut Progress) -> Result<(), Diagnosis> {
    let outgoing = Outgoing::new(&mail.envelope.prefix, &mail.envelope.edits, &mail.message.content);
    let mut steps = Steps::start(connection, mail, outgoing.len()).await?;
    if let Some(reset) = steps.reset.take() {
        let reply = steps.answer(connection, &reset, Stage::MailFrom).await?;
        if reply.code / 100 != 2 {
            return Err(Diagnosis { reply: Some(reply), ..failed(Stage::MailFrom, "RSET was refused") });
        }
        connection.clean = true;
    }

    let everybody: Vec<usize> = (0..mail.recipients.len()).collect();
    let reply = steps.answer(connection, &steps.mail_from, Stage::MailFrom).await?;
    match judge(connection.protocol, Stage::MailFrom, reply)? {
        Judged::Accepted => {
            progress.mail_accepted = true;
            connection.clean = false;
        }
        Judged::Refused(outcome) => {
            progress.settle(&everybody, &outcome);
            if !steps.ahead {
                return Ok(());
            }
        }
    }

    let mut accepted = Vec::new();
    for position in everybody {
        let reply = steps.answer(connection, &steps.rcpt_to[position], Stage::RcptTo).await?;
        let too_many = is_one_too_many(&reply);
        // Behind a refused MAIL, a pipelined RCPT is refused for that reason only.
        if !progress.mail_accepted {
            continue;
        }
        match judge(connection.protocol, Stage::RcptTo, reply)? {
            Judged::Accepted => {
                progress.accepted = true;
                accepted.push(position);
            }
            Judged::Refused(outcome) => {
                progress.outcomes[position] = Some(outcome);
                if too_many {
                    progress.too_many.push(mail.recipients[position]);
                }
            }
        }
    }
    if accepted.is_empty() {
        progress.too_many.clear();
        if !steps.ahead {
            return Ok(());
        }
    }

    let reply = steps.answer(connection, command::DATA, Stage::Data).await?;
    if accepted.is_empty() {
        return end_without_recipients(connection, &reply).await;
    }
    match judge(connection.protocol, Stage::Data, reply)? {
        Judged::Accepted => {}
        Judged::Refused(outcome) => {
            progress.settle(&accepted, &outcome);
            return Ok(());
        }
    }
    if let Some(outcome) = send_content(connection, outgoing).await? {
        connection.broken = true;
        progress.settle(&accepted, &outcome);
        return Ok(());
    }
    // From here on the message may have been taken: no error may say that it was not.
    match connection.protocol {
        Protocol::Smtp => {
            let outcome = final_reply(connection).await;
            progress.settle(&accepted, &outcome);
        }
        Protocol::Lmtp => final_replies(connection, &accepted, progress).await,
    }
    connection.clean = true;
    Ok(())
}

/// The commands up to DATA, which go out in one write where the server takes them so (RFC 2920), and else each after the former's reply.
struct Steps {
    ahead: bool,
    reset: Option<Vec<u8>>,
    mail_from: Vec<u8>,
    rcpt_to: Vec<Vec<u8>>,
}

impl Steps {
    async fn start(connection: &mut Connection, mail: &Mail<'_>, octets: u64) -> Result<Self, Diagnosis> {
        let offered = &connection.extensions;
        let parameters = MailParameters {
            size: offered.size.then_some(octets),
            // RFC 6531 §3.1 (item 8): SMTPUTF8 comes with 8BITMIME.
            eight_bit: offered.eight_bit_mime && (mail.message.eight_bit || mail.smtputf8 || !mail.envelope.prefix.is_ascii()),
            smtputf8: mail.smtputf8,
            return_headers: offered.dsn && mail.suppress_dsn,
        };
        let notify_never = parameters.return_headers;
        let steps = Steps {
            ahead: offered.pipelining,
            reset: (!connection.clean).then(|| command::RSET.to_vec()),
            mail_from: command::mail_from(&mail.envelope.sender, parameters),
            rcpt_to: mail.recipients.iter().map(|&index| command::rcpt_to(&mail.envelope.recipients[index].address, notify_never)).collect(),
        };
        if steps.ahead {
            let mut group = steps.reset.clone().unwrap_or_default();
            group.extend_from_slice(&steps.mail_from);
            steps.rcpt_to.iter().for_each(|line| group.extend_from_slice(line));
            group.extend_from_slice(command::DATA);
            connection.write(&group).await.map_err(|broken| failed(Stage::MailFrom, broken))?;
        }
        Ok(steps)
    }

    /// The reply to the next command, which is written first unless it went out with the group. 421 ends everything.
    async fn answer(&self, connection: &mut Connection, line: &[u8], stage: Stage) -> Result<Reply, Diagnosis> {
        if !self.ahead {
            connection.write(line).await.map_err(|broken| failed(stage, broken))?;
        }
        let limit = if stage == Stage::Data { connection.limits.data } else { connection.limits.command };
        let reply = connection.reply(limit).await.map_err(|broken| failed(stage, broken))?.reply;
        if reply.code == 421 {
            return Err(Diagnosis { reply: Some(reply), ..failed(stage, "") });
        }
        Ok(reply)
    }
}

/// Nobody was accepted, but DATA had been sent with the group: a server that says 354 all the same gets a lone dot (RFC 2920 §3.1).
async fn end_without_recipients(connection: &mut Connection, reply: &Reply) -> Result<(), Diagnosis> {
    if reply.code != 354 {
        // 503 or 554, as it should be; whatever else the server thinks, RSET will make it forget.
        return Ok(());
    }
    if connection.protocol == Protocol::Lmtp {
        // Nobody can say how many replies come for no recipients (RFC 2033 §4.2 forbids this 354): the connection ends here.
        connection.broken = true;
        return Ok(());
    }
    connection.write(command::LONE_DOT).await.map_err(|broken| failed(Stage::Content, broken))?;
    connection.reply(connection.limits.final_dot).await.map_err(|broken| failed(Stage::Content, broken))?;
    connection.clean = true;
    Ok(())
}

/// Sends the content with its final dot. An outcome or an error says that it did not go out whole, or that nobody knows; the connection ends then.
async fn send_content(connection: &mut Connection, mut outgoing: Outgoing) -> Result<Option<Outcome>, Diagnosis> {
    if connection.has_spoken().await {
        return Ok(Some(early_answer(connection).await));
    }
    let mut stuffer = Stuffer::new();
    let mut block = Vec::with_capacity(WRITE_OCTETS.min(outgoing.len() as usize + outgoing.len() as usize / 32 + 16));
    loop {
        match outgoing.next().await {
            Ok(Some(piece)) => {
                for part in piece.chunks(ENCODE_OCTETS) {
                    stuffer.push(part, &mut block);
                    if block.len() >= WRITE_OCTETS {
                        match connection.write_content(&block, false).await {
                            Write::Done => block.clear(),
                            Write::Interrupted => return Ok(Some(early_answer(connection).await)),
                            Write::Failed(broken) | Write::FailedAtEnd(broken) => return Err(broken_off(broken)),
                        }
                    }
                }
            }
            Ok(None) => break,
            // Without its final dot the message is not one (RFC 5321 §4.1.1.4): closing is what takes it back.
            Err(error) => {
                return Ok(Some(Outcome::Deferred(broken_off(format!("reading the message from the spool failed: {error}")))));
            }
        }
    }
    stuffer.finish(&mut block);
    match connection.write_content(&block, true).await {
        Write::Done => Ok(None),
        Write::Interrupted => Ok(Some(early_answer(connection).await)),
        Write::Failed(broken) => Err(broken_off(broken)),
        Write::FailedAtEnd(broken) => Ok(Some(unknown(&broken))),
    }
}

/// The server answered in the middle of the content. A refusal counts; a yes to half a message does not, and 421 is a way of hanging up.
async fn early_answer(connection: &mut Connection) -> Outcome {
    let reply = match connection.reply(connection.limits.block).await {
        Ok(full) => full.reply,
        Err(broken) => return Outcome::Deferred(broken_off(broken)),
    };
    let said = verdict(Protocol::Smtp, Stage::Content, &reply);
    let hung_up = reply.code == 421;
    let diagnosis = Diagnosis { reply: Some(reply), ..broken_off("the server answered before the end of the message") };
    match said {
        Verdict::Rejected(blame) => Outcome::Rejected(Diagnosis { blame, ..diagnosis }),
        Verdict::Deferred(blame) if !hung_up => Outcome::Deferred(Diagnosis { blame, ..diagnosis }),
        Verdict::Deferred(_) | Verdict::Accepted | Verdict::Unexpected => Outcome::Deferred(diagnosis),
    }
}

/// The content did not go out whole. The server had taken the connection, the sender and a recipient, so that this message may be what it
/// cannot bear: were the target blamed, the message would come first in each pass and hold up all others. A target that is really down says so
/// at the next connection.
fn broken_off(text: impl ToString) -> Diagnosis {
    Diagnosis { blame: Blame::Message, ..failed(Stage::Content, text) }
}

/// The answer to the final dot, for one recipient (LMTP) or for all (SMTP).
async fn final_reply(connection: &mut Connection) -> Outcome {
    let limit: Duration = connection.limits.final_dot;
    let reply = match connection.reply(limit).await {
        Ok(full) => full.reply,
        Err(broken) => {
            connection.broken = true;
            return unknown(&broken);
        }
    };
    connection.broken |= reply.code == 421;
    match verdict(connection.protocol, Stage::Content, &reply) {
        Verdict::Accepted => Outcome::Delivered(reply),
        Verdict::Deferred(blame) => Outcome::Deferred(Diagnosis::of_reply(Stage::Content, blame, reply)),
        Verdict::Rejected(blame) => Outcome::Rejected(Diagnosis::of_reply(Stage::Content, blame, reply)),
        Verdict::Unexpected => {
            connection.broken = true;
            Outcome::Unknown(Diagnosis { reply: Some(reply), ..failed(Stage::Content, "unexpected reply to the final dot") })
        }
    }
}

/// One reply per accepted recipient, in their order (RFC 2033 §4.2). Those that do not come are unknown, and only those.
async fn final_replies(connection: &mut Connection, accepted: &[usize], progress: &mut Progress) {
    let mut answers: Vec<Outcome> = Vec::with_capacity(accepted.len());
    for _ in accepted {
        // Once the stream is broken each further read fails at once: nothing is waited for twice.
        let answer = match answers.last() {
            Some(Outcome::Unknown(diagnosis)) if connection.broken => Outcome::Unknown(diagnosis.clone()),
            _ => final_reply(connection).await,
        };
        answers.push(answer);
    }
    if !connection.broken && connection.has_spoken().await {
        connection.broken = true;
        let surplus = connection.surplus().await;
        let all_positive = answers.iter().all(Outcome::is_delivered) && surplus.iter().all(|reply| reply.code / 100 == 2);
        if !all_positive && !surplus.is_empty() {
            let text = "more replies than recipients, and not all the same: nobody can say whose they are";
            answers.iter_mut().for_each(|answer| *answer = Outcome::Unknown(failed(Stage::Content, text)));
        }
    }
    for (&position, answer) in accepted.iter().zip(answers) {
        progress.outcomes[position] = Some(answer);
    }
}

fn unknown(broken: &Broken) -> Outcome {
    Outcome::Unknown(failed(Stage::Content, format!("no answer to the final dot: {broken}")))
}

enum Judged {
    Accepted,
    Refused(Outcome),
}

/// An unexpected reply is an error: nothing that follows can be trusted.
fn judge(protocol: Protocol, stage: Stage, reply: Reply) -> Result<Judged, Diagnosis> {
    let diagnosis = |blame, reply| Diagnosis::of_reply(stage, blame, reply);
    match verdict(protocol, stage, &reply) {
        Verdict::Accepted => Ok(Judged::Accepted),
        Verdict::Deferred(blame) => Ok(Judged::Refused(Outcome::Deferred(diagnosis(blame, reply)))),
        Verdict::Rejected(blame) => Ok(Judged::Refused(Outcome::Rejected(diagnosis(blame, reply)))),
        Verdict::Unexpected => Err(Diagnosis { text: "unexpected reply".into(), ..diagnosis(Blame::Target, reply) }),
    }
}

/// RFC 5321 §4.5.3.1.10: 452 where there are more recipients than the server takes at once; enhanced 4.5.3 if it says so precisely.
fn is_one_too_many(reply: &Reply) -> bool {
    reply.code == 452 && matches!(reply.enhanced, None | Some((4, 5, 3)))
}
