//! `mailgather oauth login`: by a code that somebody types elsewhere, or by a browser.

use super::super::exit::Exit;
use super::super::peek::{said, source_of};
use super::super::secret::audited;
use super::super::{Common, runtime};
use super::loopback::Loopback;
use super::{account, failed, keeper, say};
use crate::config::{Collector, OAuthFlow, OAuthService, WebPlace};
use crate::mail::FolderName;
use crate::oauth::login::{Browser, LoginError};
use crate::oauth::{Keeper, Tokens, told};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::io::{BufRead, IsTerminal, Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, interval, timeout};

/// How long somebody may take with a browser.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Longest address that somebody pastes.
const PASTED_MAX: u64 = 16 * 1024;
/// Where Yandex shows the code to whoever registered no address of his own.
const YANDEX_PAGE: &str = "https://oauth.yandex.ru/verification_code";

#[derive(Debug, Args)]
pub(super) struct Login {
    /// The collector.
    name: String,
    /// In place of the configured flow: `device` shows a code to be typed elsewhere, `code` an address for a browser.
    #[arg(long, value_enum)]
    flow: Option<Flow>,
    /// No browser runs on this machine: show the address, and take the one that the browser ends at, which somebody pastes.
    #[arg(long)]
    no_browser: bool,
    /// The address that the browser is sent back to, as it is registered with the provider; one of this machine is listened at, others are pasted.
    #[arg(long, value_name = "URL")]
    redirect: Option<String>,
}

/// `--flow`
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Flow {
    /// RFC 8628.
    Device,
    /// RFC 6749 §4.1 with PKCE.
    Code,
}

pub(super) fn login(arguments: &Login, common: &Common) -> Result<Exit, Exit> {
    let loaded = common.load()?;
    let (collector, keeper) = keeper(&arguments.name, &loaded)?;
    let flow = match (arguments.flow, keeper.oauth().flow) {
        (_, flow) if !flow.needs_a_person() => {
            eprintln!(
                "error: nobody has to sign in for `{}`: with `flow: {}` the program gets tokens by itself\nhint: `{}` tries it",
                arguments.name,
                flow.word(),
                common.again(&format!("oauth refresh {}", arguments.name))
            );
            return Err(Exit::Usage);
        }
        (Some(Flow::Device), _) => OAuthFlow::Device,
        (Some(Flow::Code), _) => OAuthFlow::Code,
        (None, flow) => flow,
    };
    let runtime = runtime()?;
    let tokens = runtime.block_on(async {
        match flow {
            OAuthFlow::Code => by_browser(&keeper, arguments).await,
            _ => by_device(&keeper).await,
        }
    });
    let tokens = tokens.map_err(|error| failed(&error))?;
    tell(&tokens, collector, &keeper);
    // Before the mailbox is tried: that may take its time, and be broken off.
    let done = json!({"event": "oauth_signed_in", "name": arguments.name});
    audited(Some(&loaded.config), &loaded.config.service.state_dir, &done, common, |by| by.log_signed_in(&arguments.name));
    let tested = runtime.block_on(opened(collector));
    // A thread may wait for a line that nobody types any more.
    runtime.shutdown_background();
    match tested? {
        1 => println!("Test: 1 message in INBOX."),
        messages => println!("Test: {messages} messages in INBOX."),
    }
    Ok(Exit::Ok)
}

async fn by_device(keeper: &Keeper) -> Result<Tokens, LoginError> {
    let code = keeper.begin_device().await?;
    let until = Instant::now() + code.life;
    println!("Open  {}  and enter  {}   (valid {})", code.verification_uri, code.user_code, clock(code.life));
    let _ = std::io::stdout().flush();
    let waiting = keeper.wait_for_device(&code);
    tokio::pin!(waiting);
    let shows = std::io::stderr().is_terminal();
    let mut tick = interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            signed_in = &mut waiting => {
                if shows {
                    eprint!("\r\x1b[K");
                }
                return signed_in;
            }
            _ = tick.tick(), if shows => eprint!("\rwaiting … {}\x1b[K", clock(until.saturating_duration_since(Instant::now()))),
        }
    }
}

async fn by_browser(keeper: &Keeper, arguments: &Login) -> Result<Tokens, LoginError> {
    let listening = match redirect(keeper, arguments).await {
        Ok(listening) => listening,
        Err(why) => return Err(LoginError::Strange(why)),
    };
    let (redirect, here) = listening;
    let browser = keeper.begin_code(&redirect)?;
    println!("Open this address in a browser, and sign in with the account of the mailbox:\n\n  {}\n", browser.address);
    match &here {
        Some(_) => println!("The browser comes back to {redirect}, on this machine. On another machine: `--no-browser`."),
        None if keeper.oauth().service == OAuthService::Yandex && redirect == YANDEX_PAGE => println!("Yandex shows a code then."),
        None => println!("The browser ends at an address that begins with {redirect}: the page may be empty or an error, only the address counts."),
    }
    let _ = std::io::stdout().flush();
    let back = timeout(PATIENCE, back(here.as_ref(), &browser)).await.map_err(|_| LoginError::TooLate)?;
    finished(keeper, &browser, back).await
}

/// What came, and who waits for a page.
type Came = (String, Option<super::loopback::Back>);

async fn back(here: Option<&Loopback>, browser: &Browser) -> Option<Came> {
    match here {
        Some(here) => here.answer(|target| browser.is_answer(target)).await.ok().map(|(target, back)| (target, Some(back))),
        None => pasted().await.map(|text| (text, None)),
    }
}

async fn finished(keeper: &Keeper, browser: &Browser, came: Option<Came>) -> Result<Tokens, LoginError> {
    let Some((returned, page)) = came else { return Err(LoginError::Strange("nothing came back")) };
    let tokens = keeper.finish_code(browser, &returned).await;
    if let Some(page) = page {
        page.tell(tokens.is_ok()).await;
    }
    tokens
}

/// Where the browser is sent back to, and what listens there.
async fn redirect(keeper: &Keeper, arguments: &Login) -> Result<(String, Option<Loopback>), &'static str> {
    let service = keeper.oauth().service;
    if let Some(redirect) = &arguments.redirect {
        let place = WebPlace::parse(redirect)?;
        let is_here = !place.is_secure && !arguments.no_browser;
        let here = if is_here { Some(Loopback::listen(place.port).await.map_err(|_| "the port of `--redirect` is in use")?) } else { None };
        return Ok((redirect.clone(), here));
    }
    if service == OAuthService::Yandex {
        return Ok((YANDEX_PAGE.to_owned(), None));
    }
    let here = Loopback::listen(0).await.map_err(|_| "no port of this machine is free to listen at")?;
    let redirect = match service {
        // Registered as `http://localhost`, it is good for every port.
        OAuthService::Microsoft => format!("http://localhost:{}", here.port()),
        _ => format!("http://{}:{}/", Ipv4Addr::LOCALHOST, here.port()),
    };
    Ok((redirect, (!arguments.no_browser).then_some(here)))
}

/// A line that somebody pastes. It is read by a thread that nobody waits for when this one ends.
async fn pasted() -> Option<String> {
    eprint!("Paste it here: ");
    let _ = std::io::stderr().flush();
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().lock().take(PASTED_MAX).read_line(&mut line);
        let _ = sender.send(read.is_ok_and(|octets| octets > 0).then_some(line));
    });
    receiver.await.ok().flatten()
}

/// Who has signed in, for what, and what is kept of it.
fn tell(tokens: &Tokens, collector: &Collector, keeper: &Arc<Keeper>) {
    let oauth = keeper.oauth();
    let account = told::account(tokens, oauth);
    let signed_in = account.as_ref().map_or_else(|| "signed in".to_owned(), |account| format!("signed in as {account}"));
    let missing = told::missing(tokens, oauth);
    let scopes = if missing.is_empty() { "scopes ok".to_owned() } else { format!("without {}", missing.join(", ")) };
    let sealed = if oauth.key.is_some() { " (encrypted)" } else { "" };
    let kept = match tokens.refresh {
        Some(_) => format!("refresh token stored{sealed}"),
        None => "no refresh token".to_owned(),
    };
    println!("{signed_in}, {scopes}, {kept}.");
    let _ = std::io::stdout().flush();
    if !missing.is_empty() {
        say(
            &"not all that the mailbox needs was allowed",
            Some("allow all of it when signing in; or the program is not registered for it"),
            Exit::Ok,
        );
    }
    if tokens.refresh.is_none() {
        eprintln!("warning: without a refresh token somebody has to sign in again at {}", account::time(tokens.expires));
    }
    if let Some(until) = tokens.refresh_until {
        eprintln!("warning: the provider ends the refresh token at {}: somebody has to sign in again before", account::time(until));
    }
    if let Some(warning) = told::other_account(account.as_deref(), &collector.server.username, oauth) {
        eprintln!("warning: {warning}");
    }
}

/// How many messages the mailbox has.
async fn opened(collector: &Collector) -> Result<u64, Exit> {
    let source = source_of(collector, false)?;
    let looked = async {
        let mut session = source.open().await?;
        let selected = session.select(&FolderName::inbox()).await?;
        let _ = session.close().await;
        Ok(selected.exists)
    };
    looked.await.map_err(|error| said(collector, error))
}

/// `14:58`
fn clock(left: Duration) -> String {
    format!("{}:{:02}", left.as_secs() / 60, left.as_secs() % 60)
}
