//! The configuration over the socket: a collector as it stands in its file, changes of it, whether a text would be taken, and what is in force.

use super::api::{Answer, Api, CONFIG, stopping};
use super::problem::Problem;
use super::route::How;
use crate::config::{self, EditError, Editor, Report, Request, Setting, Sources, WriteError, log_written};
use crate::mail::CollectorId;
use crate::mail::outcome::harmless;
use crate::service::command::Requester;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Longest message in a problem.
const TEXT_MAX: usize = 4_096;
/// The name of a text that is no file.
const TEXT_NAME: &str = "mailgather.yaml";

/// What is asked for, with the body that it needs.
enum Asked {
    Put(Map<String, Value>),
    Patch(Map<String, Value>),
    Delete,
}

impl Api {
    /// One collector in its file: shown, or changed.
    pub(super) async fn configured(
        &self,
        id: CollectorId,
        how: How,
        dry_run: bool,
        body: &[u8],
        by: Requester,
        tag: Option<String>,
    ) -> Result<Answer, Problem> {
        let object = || match serde_json::from_slice(body) {
            Ok(Value::Object(object)) => Ok(object),
            _ => Err(Problem::new(400, "the body is one JSON object: keys of a collector with their values")),
        };
        let asked = match how {
            How::Get => None,
            How::Put => Some(Asked::Put(object()?)),
            How::Patch => Some(Asked::Patch(object()?)),
            How::Delete => Some(Asked::Delete),
        };
        let Some(asked) = asked else {
            let own = self.with_editor(move |editor| editor.own(id.as_str()).map_err(|error| refused(&error)).map(|own| (id, own))).await?;
            let (id, own) = own;
            let document = json!({"id": id.as_str(), "file": own.file.to_string_lossy(), "keys": own.json()});
            return Ok(Answer::Tagged(200, document, format!("\"{}\"", own.tag)));
        };
        let done = self.with_editor(move |editor| change(&editor, id.as_str(), asked, tag.as_deref(), dry_run)).await?;
        if done.written {
            log_written(&by.to_string(), done.word, &done.collector, &done.file.to_string_lossy());
        }
        let mut document = json!({"file": done.file.to_string_lossy(), "diff": done.patch, "written": done.written, "reload": Value::Null});
        if done.written
            && let Answer::Json(_, reload) = self.reload(by).await?
        {
            document["reload"] = reload;
        }
        Ok(match done.tag {
            Some(tag) => Answer::Tagged(done.status, document, format!("\"{tag}\"")),
            None => Answer::Json(done.status, document),
        })
    }

    /// Whether this text would be taken as a whole configuration; without one, whether the files would be.
    pub(super) async fn check(&self, body: &[u8]) -> Result<Answer, Problem> {
        let Ok(text) = String::from_utf8(body.to_vec()) else { return Err(Problem::new(400, "the body is YAML in UTF-8, or nothing")) };
        let (path, mut env) = (self.daemon.config.clone(), self.daemon.environment.clone());
        let checked = tokio::task::spawn_blocking(move || match text.trim().is_empty() {
            true => config::load_and_look(&path, &env),
            false => {
                env.file_mode = Some(0o600);
                config::parse_and_look(&text, &path.with_file_name(TEXT_NAME), &env)
            }
        });
        match checked.await.map_err(|_| stopping())? {
            Ok((loaded, found)) if found.errors.is_empty() => {
                let warnings: Vec<&config::Problem> = loaded.warnings.iter().chain(&found.warnings).collect();
                Ok(Answer::Json(200, json!({"ok": true, "collectors": loaded.config.collectors.len(), "warnings": places(warnings)})))
            }
            Ok((_, report)) | Err(report) => Err(wrong(&report)),
        }
    }

    /// What is in force by the files as they are, with origins; secrets hidden.
    pub(super) async fn effective(&self, id: Option<CollectorId>) -> Result<Answer, Problem> {
        let (path, env, name) = (self.daemon.config.clone(), self.daemon.environment.clone(), id.clone());
        let read = tokio::task::spawn_blocking(move || {
            Sources::read(&path, &env).and_then(|sources| sources.in_force(name.as_ref().map(CollectorId::as_str), &env))
        });
        let (_, all) = read.await.map_err(|_| stopping())?.map_err(|report| wrong(&report))?;
        if let Some(id) = id.filter(|_| all.is_empty()) {
            return Err(Problem::new(404, format!("no collector is called `{}`", id.as_str())));
        }
        let setting = |setting: &Setting| json!({"key": setting.key, "value": setting.value, "origin": setting.from.json()});
        let all: Vec<Value> =
            all.iter().map(|(name, settings)| json!({"id": name, "settings": settings.iter().map(setting).collect::<Vec<_>>()})).collect();
        Ok(Answer::Json(200, json!({"collectors": all})))
    }

    /// Runs something with the files, on a thread that may wait for the disk.
    async fn with_editor<T: Send + 'static>(&self, run: impl FnOnce(Editor) -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
        let (path, env) = (self.daemon.config.clone(), self.daemon.environment.clone());
        let ran = tokio::task::spawn_blocking(move || Editor::open(&path, &env).map_err(|report| wrong(&report)).and_then(run));
        ran.await.map_err(|_| stopping())?
    }
}

/// What came of a change.
struct Done {
    status: u16,
    file: PathBuf,
    patch: String,
    written: bool,
    word: &'static str,
    collector: String,
    tag: Option<String>,
}

fn change(editor: &Editor, name: &str, asked: Asked, tag: Option<&str>, dry_run: bool) -> Result<Done, Problem> {
    let own = match editor.own(name) {
        Ok(own) => Some(own),
        Err(EditError::Unknown(..)) if matches!(asked, Asked::Put(_)) => None,
        Err(error) => return Err(refused(&error)),
    };
    if let Some(own) = &own {
        match tag.map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"')) {
            None => return Err(Problem::new(428, "say with `If-Match` which state of the file this is for").hint("GET answers with it as `ETag`")),
            Some(tag) if tag != own.tag && tag != "*" => {
                return Err(Problem::new(409, format!("{} was changed meanwhile", own.file.display())).hint("GET it again"));
            }
            Some(_) => {}
        }
    } else if tag.is_some() {
        return Err(Problem::new(409, format!("there is no collector `{name}` that this could be the state of")));
    }
    let name = name.to_owned();
    let request = match (&own, asked) {
        (None, Asked::Put(keys)) => {
            let keys = keys
                .iter()
                .map(|(key, value)| Ok((vec![key.clone()], config::edit::Value::json(value).map_err(|refusal| Problem::new(400, refusal.why))?)));
            Request::Add { name, keys: keys.collect::<Result<_, Problem>>()? }
        }
        (Some(own), Asked::Put(keys)) => Request::Edit { name, ops: own.to_become(&keys).map_err(|error| refused(&error))? },
        (Some(own), Asked::Patch(keys)) => Request::Edit { name, ops: own.to_patch(&keys).map_err(|error| refused(&error))? },
        _ => Request::Remove { name },
    };
    if let (Request::Edit { ops, .. }, Some(own)) = (&request, &own)
        && ops.is_empty()
    {
        let (file, tag) = (own.file.clone(), Some(own.tag.clone()));
        return Ok(Done { status: 200, file, patch: String::new(), written: false, word: "edit", collector: String::new(), tag });
    }
    let change = editor.change(&request).map_err(|error| refused(&error))?;
    if !dry_run {
        change.write().map_err(|error| not_written(&error))?;
    }
    Ok(Done {
        status: if own.is_none() && !dry_run { 201 } else { 200 },
        file: change.file.clone(),
        patch: change.patch(),
        written: !dry_run,
        word: change.word,
        // Of the file as it is now.
        tag: change.after.as_deref().filter(|_| !dry_run).map(config::tag_of),
        collector: change.collector,
    })
}

fn refused(error: &EditError) -> Problem {
    match error {
        EditError::Unknown(name, known) => {
            let known = known.iter().take(20).cloned().collect::<Vec<_>>().join(", ");
            Problem::new(404, format!("no collector is called `{}`", harmless(name, TEXT_MAX))).hint(format!("the configuration has: {known}"))
        }
        EditError::Name(why) => Problem::new(409, harmless(why, TEXT_MAX)),
        EditError::Request(why) => Problem::new(400, harmless(why, TEXT_MAX)),
        EditError::Secret(key) => Problem::new(422, format!("the secret of `{}` does not belong into the configuration", harmless(key, TEXT_MAX)))
            .hint("say where it is: {\"file\": \"/path\"}, {\"credential\": \"NAME\"}, {\"env\": \"NAME\"}"),
        EditError::Refused { file, refusal, patch } => {
            let problem = Problem::new(422, format!("{}: {}; nothing was written", file.display(), harmless(&refusal.why, TEXT_MAX)));
            let problem = problem.with("file", json!(file.to_string_lossy())).with("line", json!(refusal.line));
            match patch {
                Some(patch) => problem.hint("the patch is to be made by hand").with("patch", json!(patch)),
                None => problem.hint("change it by hand"),
            }
        }
        EditError::Wrong(report) => wrong(report),
    }
}

fn not_written(error: &WriteError) -> Problem {
    match error {
        WriteError::Changed(_) | WriteError::Busy(_) => Problem::new(409, error.to_string()),
        // Where the daemon may not write, its operator does by the command line.
        WriteError::Io { .. } => Problem::new(500, error.to_string()).hint("nothing was changed; `mailgather edit` does it as root"),
    }
}

/// A configuration that is not right, with all places.
fn wrong(report: &Report) -> Problem {
    Problem::new(422, report.to_string()).code(CONFIG).with("errors", places(&report.errors))
}

fn places<'p>(problems: impl IntoIterator<Item = &'p config::Problem>) -> Value {
    let one = |problem: &config::Problem| {
        let place = problem.place.as_deref();
        json!({
            "code": problem.code.to_string(), "message": harmless(&problem.message, TEXT_MAX), "hints": problem.hints,
            "file": place.map(|place| file_name(&place.path)), "line": place.map(|place| place.line), "column": place.map(|place| place.column),
        })
    };
    problems.into_iter().map(one).collect()
}

fn file_name(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
