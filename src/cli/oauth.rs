//! `mailgather oauth`: somebody signs in for a collector whose tokens the program gets itself; how they fare, another one, and the end of them. A token is
//! never printed, and never on a command line.

mod account;
mod login;
mod loopback;
mod status;

use super::exit::Exit;
use super::peek::names;
use super::secret::audited;
use super::{Common, clear, runtime};
use crate::config::secret::{SecretError, SecretErrorKind};
use crate::config::{Collector, Loaded};
use crate::mail::outcome::harmless;
use crate::oauth::login::LoginError;
use crate::oauth::{Found, Keeper};
use clap::{Args, Subcommand};
use serde_json::json;
use std::sync::Arc;

#[derive(Debug, Args)]
#[command(after_help = super::exit::TABLE)]
pub(super) struct OAuthArguments {
    #[command(subcommand)]
    command: OAuthCommand,
}

#[derive(Debug, Subcommand)]
enum OAuthCommand {
    /// Sign in for a collector, then see whether its mailbox opens. A daemon that runs takes the new tokens by itself.
    Login(login::Login),
    /// Show until when the tokens are good, for whom and for what; never the tokens.
    Status(status::Status),
    /// Get another access token now.
    Refresh {
        /// The collector.
        name: String,
    },
    /// Give the tokens back to the provider, where it takes them back, and remove them here.
    Revoke {
        /// The collector.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Only remove them here, and tell the provider nothing.
        #[arg(long)]
        local: bool,
    },
}

pub(super) fn oauth(arguments: &OAuthArguments, common: &Common) -> Exit {
    let done = match &arguments.command {
        OAuthCommand::Login(arguments) => login::login(arguments, common),
        OAuthCommand::Status(arguments) => status::status(arguments, common),
        OAuthCommand::Refresh { name } => refresh(name, common),
        OAuthCommand::Revoke { name, yes, local } => revoke(name, *yes, *local, common),
    };
    done.unwrap_or_else(|exit| exit)
}

/// The collector of that name, and what keeps its tokens.
fn keeper<'l>(name: &str, loaded: &'l Loaded) -> Result<(&'l Collector, Arc<Keeper>), Exit> {
    let Some(collector) = loaded.config.collectors.values().find(|collector| collector.id.as_str() == name) else {
        eprintln!("error: no collector is called `{}`\nhint: the configuration has: {}", harmless(name, 200), names(loaded));
        return Err(Exit::Usage);
    };
    match &collector.server.auth.oauth {
        Some(oauth) => Ok((collector, Arc::new(Keeper::new(&collector.id, oauth)))),
        None => {
            eprintln!(
                "error: `{name}` has no tokens of its own\nhint: `auth: {{method: oauth2, client_id: …}}` in the configuration makes the program get them (docs/oauth2.md)"
            );
            Err(Exit::Usage)
        }
    }
}

fn refresh(name: &str, common: &Common) -> Result<Exit, Exit> {
    let loaded = common.load()?;
    let (_, keeper) = keeper(name, &loaded)?;
    let tokens = runtime()?.block_on(keeper.refresh()).map_err(|error| secret_failed(&error))?;
    if !common.quiet {
        let rotated =
            if tokens.refresh.is_some() && tokens.refresh_since == Some(tokens.granted) { "; the refresh token was renewed too" } else { "" };
        eprintln!("a new access token for `{name}`, good until {}{rotated}", account::time(tokens.expires));
    }
    Ok(Exit::Ok)
}

fn revoke(name: &str, yes: bool, local: bool, common: &Common) -> Result<Exit, Exit> {
    let loaded = common.load()?;
    let (_, keeper) = keeper(name, &loaded)?;
    let runtime = runtime()?;
    let found = runtime.block_on(keeper.kept()).map_err(|error| secret_failed(&error))?;
    if found == Found::Nothing {
        eprintln!("no tokens are kept for `{name}`");
        return Ok(Exit::Ok);
    }
    let oauth = keeper.oauth();
    let provider = oauth.service.title();
    let is_other = matches!(&found, Found::Tokens(tokens) if !keeper.fits(tokens));
    let tells = !local && keeper.is_taken_back(&found);
    let what = match (tells, is_other) {
        (true, _) => format!("The tokens of `{name}` are given back to {provider} and removed here."),
        (false, true) => format!("The tokens of `{name}` were made for other keys of `auth`: they are removed here, and nobody is told."),
        (false, false) => format!("The tokens of `{name}` are removed here; {provider} is not told."),
    };
    let then = match oauth.flow.needs_a_person() {
        true => format!("The mailbox is not collected until somebody signs in anew: `{}`.", common.again(&format!("oauth login {name}"))),
        false => "The program gets new ones by itself, as long as its secret is good.".to_owned(),
    };
    clear::can_ask(yes)?;
    if !yes {
        eprintln!("{what}\n{then}");
    }
    clear::confirm(name, yes)?;
    // Somebody may have changed them while we asked.
    let tells = tells
        && runtime.block_on(keeper.give_back()).map_err(|error| {
            let exit = failed(&error);
            eprintln!("hint: nothing was removed; `--local` removes them here all the same");
            exit
        })?;
    runtime.block_on(keeper.forget()).map_err(|error| secret_failed(&error))?;
    drop(runtime);
    let done = json!({"event": "oauth_revoked", "name": name, "told": tells});
    audited(Some(&loaded.config), &loaded.config.service.state_dir, &done, common, |by| by.log_tokens_removed(name, tells));
    if !common.quiet {
        let told = if tells { format!("given back to {provider}, and ") } else { String::new() };
        eprintln!("`{name}`: {told}removed");
        if !tells && !local {
            // Of whom they were is not known any more.
            eprintln!("hint: {}", elsewhere(if is_other { "" } else { provider }));
        }
    }
    Ok(Exit::Ok)
}

/// How the grant itself ends where no program can do it.
fn elsewhere(provider: &str) -> &'static str {
    match provider {
        "Microsoft" => {
            "Microsoft takes no tokens back: who signed in removes the program at myapps.microsoft.com, or an administrator revokes the sessions"
        }
        "Mail.ru" => "Mail.ru takes no tokens back: who signed in removes the program in the mailbox's security settings",
        _ => "what was granted still stands at the provider: remove the program there too",
    }
}

fn failed(error: &LoginError) -> Exit {
    match error {
        LoginError::Secret(error) => secret_failed(error),
        LoginError::Ask(ask) if ask.is_transient() => say(error, None, Exit::TempFail),
        LoginError::Ask(_) => say(
            error,
            Some("look at how the program is registered with the provider, and at `auth` of this collector (docs/oauth2.md)"),
            Exit::NoPermission,
        ),
        LoginError::NoPlace(_) => say(error, Some("name the other flow: `--flow device` or `--flow code`"), Exit::Config),
        LoginError::TooLate => say(error, Some("begin again"), Exit::TempFail),
        LoginError::Denied(_) => say(
            error,
            Some("sign in with the account of the mailbox, and allow what is asked; an administrator may have to approve the program"),
            Exit::NoPermission,
        ),
        LoginError::Strange(_) => say(error, Some("begin again, with one window only"), Exit::Protocol),
        LoginError::Random => say(error, None, Exit::Os),
    }
}

fn secret_failed(error: &SecretError) -> Exit {
    let exit = match error.kind {
        SecretErrorKind::Unreadable => Exit::Config,
        SecretErrorKind::Refused => Exit::NoPermission,
        SecretErrorKind::Unavailable { .. } => Exit::TempFail,
    };
    say(error, error.hint.as_deref(), exit)
}

fn say(error: &dyn std::fmt::Display, hint: Option<&str>, exit: Exit) -> Exit {
    eprintln!("error: {error}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    exit
}
