//! Opening a folder.

use super::connection::{Input, Tag};
use super::hello::send_id;
use super::quirk::is_unsafe_login;
use super::refusal::is_not_now;
use super::session::{Folder, ImapSession};
use crate::mail::{Epoch, FolderName};
use crate::proto::imap::{Code, Command, State, Status};
use crate::source::{Selected, SourceError, SourceErrorKind};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

/// How long a SELECT that went along with the login may stay without any sign before it is sent once more.
const SELECT_PATIENCE: Duration = Duration::from_secs(10);

/// What the answer to SELECT held.
#[derive(Default)]
struct Answered {
    exists: Option<u32>,
    epoch: Option<u32>,
    uid_next: Option<u32>,
    /// The server says that its UIDs do not last (RFC 4315 §3).
    forgets_uids: bool,
    /// The server lets nothing be changed in the folder (RFC 9051 §7.1, READ-ONLY).
    is_read_only: bool,
    /// Whether the answer to CAPABILITY came before.
    capability: bool,
    /// It was not OK.
    refused: Option<Status>,
}

impl Answered {
    fn take(&mut self, input: Input) {
        match input {
            Input::Exists(number) => (self.exists, self.uid_next) = (Some(number), self.uid_next.filter(|_| self.exists.is_none())),
            Input::Code(Code::UidValidity(number)) => self.epoch = Some(number),
            Input::Code(Code::UidNext(number)) => self.uid_next = Some(number),
            Input::Note(Status { code: Some(Code::Named(name)), .. }) => self.forgets_uids |= name == "UIDNOTSTICKY",
            _ => {}
        }
    }
}

impl ImapSession {
    pub(super) async fn open_folder(&mut self, folder: &FolderName) -> Result<Selected, SourceError> {
        self.connection.enter("select");
        if !self.fetching.is_done() {
            return Err(self.connection.error(SourceErrorKind::Protocol, "messages are still on their way"));
        }
        self.folder = None;
        let is_inbox = folder.as_str().eq_ignore_ascii_case("INBOX");
        if !is_inbox {
            self.settle_select().await?;
        }
        let with_login = self.selecting.take();
        let tag = match with_login {
            Some(tag) => tag,
            None => self.send_select(folder, false).await?,
        };
        let asked = match self.connection.capabilities {
            Some(_) => None,
            None => Some(self.connection.send(&Command::Capability).await),
        };
        let mut answered = self.selected(tag, with_login.is_some(), folder).await?;
        if let Some(asked) = asked.filter(|_| !answered.capability) {
            let known = match asked {
                Ok(asked) => self.connection.finish(asked, "CAPABILITY", |input| answered.take(input)).await,
                Err(error) => Err(error),
            };
            // A server that refuses the folder and closes: what it said first is the reason.
            if let (Err(error), refused) = (known, &answered.refused) {
                return Err(refused.as_ref().map_or(error, |status| self.to_open(folder, status)));
            }
        }
        if answered.refused.as_ref().is_some_and(is_unsafe_login) && send_id(&mut self.connection).await? {
            let tag = self.send_select(folder, false).await?;
            answered = self.selected(tag, false, folder).await?;
        }
        // A folder whose name on the server is broken modified UTF-7: it is known by its octets only. The well-formed name was asked for first,
        // so that no other folder can be taken for it.
        let is_no = |status: &Status| status.state == State::No && !is_not_now(status);
        if answered.refused.as_ref().is_some_and(is_no) && has_raw_form(folder) {
            let tag = self.send_select(folder, true).await?;
            let raw = self.selected(tag, false, folder).await?;
            if raw.refused.is_none() {
                answered = raw;
            }
        }
        if let Some(status) = &answered.refused {
            return Err(self.to_open(folder, status));
        }
        self.opened(folder, &answered)
    }

    fn to_open(&self, folder: &FolderName, refusal: &Status) -> SourceError {
        self.connection.refused(&format!("to open `{folder}`"), refusal)
    }

    fn opened(&mut self, folder: &FolderName, answered: &Answered) -> Result<Selected, SourceError> {
        // Without it, UIDs mean nothing (RFC 9051 §2.3.1.1): state must neither be used nor forgotten.
        let Some(epoch) = answered.epoch.filter(|epoch| *epoch > 0).map(Epoch) else {
            return Err(self.connection.error(SourceErrorKind::Protocol, "the server names no UIDVALIDITY for the folder"));
        };
        if answered.forgets_uids {
            let error = self.connection.error(SourceErrorKind::Protocol, "the server says that its UIDs do not last (UIDNOTSTICKY)");
            return Err(error.hint("collect this mailbox by POP3: without lasting UIDs nobody can tell what was collected"));
        }
        let Some(exists) = answered.exists else {
            return Err(self.connection.error(SourceErrorKind::Protocol, "the server does not say how many messages the folder holds"));
        };
        let uid_next = answered.uid_next;
        let (has_news, is_renumbered, is_read_only) = (false, false, answered.is_read_only);
        self.folder = Some(Folder { name: folder.clone(), epoch, exists, uid_next, uid_next_once: uid_next, has_news, is_renumbered, is_read_only });
        Ok(Selected { epoch, exists: u64::from(exists), uid_next, can_delete: self.offers("UIDPLUS") })
    }

    /// Waits for the answer to a SELECT INBOX that went along with the login, before anything else is asked. Nobody asked for it: a refusal says
    /// nothing about what is asked.
    pub(super) async fn settle_select(&mut self) -> Result<(), SourceError> {
        if let Some(tag) = self.selecting.take() {
            self.selected(tag, true, &FolderName::inbox()).await?;
        }
        Ok(())
    }

    async fn send_select(&mut self, folder: &FolderName, raw: bool) -> Result<Tag, SourceError> {
        let command = match (self.read_only, raw) {
            (false, false) => Command::Select(folder),
            (false, true) => Command::SelectRaw(folder),
            (true, false) => Command::Examine(folder),
            (true, true) => Command::ExamineRaw(folder),
        };
        self.connection.send(&command).await
    }

    /// Waits for the SELECT. One that went with the login may have been forgotten by a proxy: then it is sent once more.
    async fn selected(&mut self, mut tag: Tag, with_login: bool, folder: &FolderName) -> Result<Answered, SourceError> {
        let mut answered = Answered::default();
        let mut may_be_lost = with_login;
        let patience = SELECT_PATIENCE.min(self.connection.idle() / 2);
        loop {
            let input = match may_be_lost {
                true => timeout(patience, self.connection.next()).await,
                false => Ok(self.connection.next().await),
            };
            match input.ok().transpose()? {
                Some(Input::Answer(own, status)) if own == tag => {
                    answered.is_read_only = matches!(&status.code, Some(Code::Named(name)) if name == "READ-ONLY");
                    answered.refused = (status.state != State::Ok).then_some(status);
                    return Ok(answered);
                }
                // No sign, or the answer to the CAPABILITY that was sent later.
                lost @ (None | Some(Input::Answer(..))) if may_be_lost => {
                    answered.capability |= lost.is_some();
                    self.shared.select_with_login.store(false, Ordering::Relaxed);
                    self.connection.forget(tag);
                    tag = self.send_select(folder, false).await?;
                    may_be_lost = false;
                }
                Some(Input::Answer(..)) => answered.capability = true,
                Some(input) => answered.take(input),
                None => {}
            }
        }
    }
}

/// True if the name as it is differs from its modified UTF-7, and can be sent.
fn has_raw_form(folder: &FolderName) -> bool {
    let name = folder.as_str();
    !name.chars().any(char::is_control) && (name.contains('&') || !name.is_ascii())
}
