//! A first-in-first-out line of commands, of which a window is on its way.

use super::super::{SourceError, SourceErrorKind, Wanted};
use super::deletions::Deletions;
use super::wire::Wire;
use crate::mail::RemoteUid;
use crate::proto::pop3::reply::Refusal;
use crate::proto::pop3::{Command, Reply, Status};
use std::collections::VecDeque;

/// Commands on their way at once, where the server takes more than one. At 17 octets each they fit into any socket's buffer, so that a
/// write never waits for a server that itself waits for us to read.
const WINDOW: usize = 256;

/// A command of the TRANSACTION state.
#[derive(Debug)]
pub(super) enum Task {
    Stat,
    Uidl,
    List,
    Retr {
        number: u32,
        wanted: Wanted,
    },
    /// A message that is read to be told from others, and not kept.
    Identify {
        number: u32,
    },
    Top {
        number: u32,
        uid: RemoteUid,
    },
    Dele {
        number: u32,
        uid: RemoteUid,
    },
    Quit,
}

impl Task {
    fn command(&self) -> Command<'static> {
        match self {
            Task::Stat => Command::Stat,
            Task::Uidl => Command::Uidl,
            Task::List => Command::List,
            Task::Retr { number, .. } | Task::Identify { number } => Command::Retr(*number),
            Task::Top { number, .. } => Command::Top(*number),
            Task::Dele { number, .. } => Command::Dele(*number),
            Task::Quit => Command::Quit,
        }
    }
}

/// Commands to send, commands sent, and the connection.
pub(super) struct Pipeline {
    pub(super) wire: Wire,
    pub(super) deletions: Deletions,
    window: usize,
    /// Commands to send, in order.
    queue: VecDeque<Task>,
    /// Commands sent, whose answers are outstanding, in order.
    sent: VecDeque<Task>,
    /// STAT and UIDL went out with the login, and not both are answered.
    asked_ahead: bool,
}

impl Pipeline {
    pub(super) fn new(wire: Wire, pipelines: bool, asked_ahead: bool) -> Self {
        let sent = if asked_ahead { VecDeque::from([Task::Stat, Task::Uidl]) } else { VecDeque::new() };
        let window = if pipelines { WINDOW } else { 1 };
        Pipeline { wire, deletions: Deletions::default(), window, queue: VecDeque::new(), sent, asked_ahead }
    }

    /// True if an answer to STAT or UIDL that went out with the login is to come.
    pub(super) fn asked_ahead(&self) -> bool {
        self.asked_ahead
    }

    /// True if one command goes out at a time.
    pub(super) fn one_at_a_time(&self) -> bool {
        self.window == 1
    }

    /// Puts a command behind the others.
    pub(super) fn push(&mut self, task: Task) {
        self.queue.push_back(task);
    }

    /// Sends what the window allows, in one write. It is filled anew when half of it is answered, so that writes are few.
    pub(super) async fn pump(&mut self) -> Result<(), SourceError> {
        if self.sent.len() > self.window / 2 {
            return Ok(());
        }
        while self.sent.len() < self.window
            && let Some(task) = self.queue.pop_front()
        {
            self.wire.push(task.command())?;
            self.sent.push_back(task);
        }
        self.wire.flush().await
    }

    /// The next command whose answer is to be read now, with the first line of the answer. Answers to DELE are noted on the way.
    pub(super) async fn next(&mut self) -> Result<Option<(Task, Reply)>, SourceError> {
        loop {
            self.pump().await?;
            let Some(task) = self.sent.pop_front() else { return Ok(None) };
            let reply = self.wire.final_reply().await?;
            match task {
                Task::Dele { uid, .. } => self.deletions.answered(uid, reply),
                task => return Ok(Some((task, reply))),
            }
        }
    }

    /// How many messages there are.
    pub(super) async fn stat(&mut self) -> Result<u64, SourceError> {
        if !self.asked_ahead {
            self.push(Task::Stat);
        }
        let Some((Task::Stat, reply)) = self.next().await? else { return Err(self.out_of_turn()) };
        if reply.status != Status::Ok {
            return Err(self.refused("STAT", &reply));
        }
        match reply.stat() {
            Some((exists, _)) => Ok(exists),
            None => Err(self.wire.error(SourceErrorKind::Protocol, "the answer to STAT has no count").said(&reply.text)),
        }
    }

    /// Asks for all ids, unless that went out with the login.
    pub(super) fn push_uidl(&mut self) {
        if !std::mem::take(&mut self.asked_ahead) {
            self.push(Task::Uidl);
        }
    }

    /// The first line of the answer to UIDL, which was pushed.
    pub(super) async fn uidl(&mut self) -> Result<Reply, SourceError> {
        match self.next().await? {
            Some((Task::Uidl, reply)) => Ok(reply),
            _ => Err(self.out_of_turn()),
        }
    }

    /// QUIT, and its +OK. Answers that were asked ahead and never wanted are passed over.
    pub(super) async fn quit(&mut self) -> Result<(), SourceError> {
        self.push(Task::Quit);
        loop {
            match self.next().await? {
                Some((Task::Quit, reply)) if reply.status == Status::Ok => return Ok(()),
                // RFC 1939 §6: some deleted messages were not removed, and nobody knows which.
                Some((Task::Quit, reply)) => return Err(self.wire.error(SourceErrorKind::Mailbox, "QUIT failed").said(&reply.text)),
                Some((Task::Uidl | Task::List, reply)) if reply.status == Status::Ok => while self.wire.listed_line().await?.is_some() {},
                Some(_) => {}
                None => return Err(self.out_of_turn()),
            }
        }
    }

    pub(super) fn refused(&self, what: &str, reply: &Reply) -> SourceError {
        let kind = if reply.refusal() == Refusal::NotNow { SourceErrorKind::Throttled } else { SourceErrorKind::Mailbox };
        self.wire.error(kind, format!("the server refuses {what}")).said(&reply.text)
    }

    pub(super) fn out_of_turn(&self) -> SourceError {
        self.wire.error(SourceErrorKind::Protocol, "operations of the session were mixed up")
    }
}
