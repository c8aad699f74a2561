//! Finding a monitor again.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use corten_conmon::{
    ctl::{Answer, CreateFailure, EVENT, Phase, Refusal, Reply, Request, Verb},
    record,
    socket::Address,
    wire::Version,
};
use rustix::net::SocketType;

use super::{
    About, End, ExitRecord, Monitor, MonitorError,
    client::{ANSWER_TIMEOUT, unexpected},
    link::Connection,
    processes::MonitorProcess,
    vigil::WAKE,
};

/// Where a monitor is found.
#[derive(Debug, Clone)]
pub struct MonitorPaths {
    /// Its control socket.
    pub ctl_socket: PathBuf,
    /// The exit record it writes.
    pub exit_record: PathBuf,
    /// How long to wait for a creation that is still under way.
    pub create_timeout: Duration,
}

/// What became of a container whose daemon was away.
#[derive(Debug)]
pub enum Adopted {
    /// It is there, created or started, and so is its monitor.
    Alive(Monitor),
    /// It ended.
    Exited(ExitRecord),
    /// Its creation was still under way, and failed.
    Failed(CreateFailure),
    /// There is neither a monitor nor a record. Init may or may not be there.
    Lost,
}

/// Connects to a container's monitor, or finds out how the container ended.
///
/// An error means that neither could be told: the monitor does not answer, or its record is broken.
pub async fn adopt(paths: &MonitorPaths) -> Result<Adopted, MonitorError> {
    match reach(paths).await {
        Ok(adopted) => Ok(adopted),
        // Nobody listens, or it left while it was asked.
        Err(MonitorError::Gone) => Ok(match read_exit_record(&paths.exit_record).await? {
            Some(record) => Adopted::Exited(record),
            None => Adopted::Lost,
        }),
        Err(error) => Err(error),
    }
}

async fn reach(paths: &MonitorPaths) -> Result<Adopted, MonitorError> {
    let (connection, about) = greet(&paths.ctl_socket).await?;
    let mut reply = ask(&connection, 2, Verb::Subscribe).await?;
    loop {
        let (pid, known) = match reply {
            Reply::State {
                phase: Phase::Creating,
            } => {
                reply = soon(
                    paths.create_timeout,
                    "the container's creation",
                    &connection,
                )
                .await?
                .reply;
                continue;
            }
            Reply::State {
                phase: Phase::Running { pid } | Phase::Ending { pid },
            } => (pid, None),
            Reply::Created { pid, .. } => (pid, None),
            Reply::State {
                phase: Phase::Exited { record },
            }
            | Reply::Exited { record } => {
                return Ok(Adopted::Exited(record.into()));
            }
            Reply::Failed { failure } => return Ok(Adopted::Failed(failure)),
            other => return Err(unexpected("the subscription", other)),
        };
        let record = paths.exit_record.clone();
        return Ok(Adopted::Alive(Monitor::start(
            connection, pid, about, record, known,
        )));
    }
}

/// Connects in the newest version of the protocol that both sides speak.
async fn greet(path: &Path) -> Result<(Connection, About), MonitorError> {
    let mut version = Version::CURRENT;
    loop {
        let connection = connect(path.to_owned(), version).await?;
        // Who does not understand says so, or only closes the connection. One that is gone does not open the next.
        let error = match ask(&connection, 1, Verb::Hello).await {
            Ok(Reply::Hello { monitor, program }) => {
                return Ok((connection, About::new(monitor, program.0, version)));
            }
            Ok(
                refusal @ Reply::Refused {
                    kind: Refusal::NotUnderstood,
                    ..
                },
            ) => unexpected("the greeting", refusal),
            Ok(other) => return Err(unexpected("the greeting", other)),
            Err(MonitorError::Gone) => MonitorError::Gone,
            Err(other) => return Err(other),
        };
        version = version.previous().ok_or(error)?;
    }
}

/// Ends a monitor that gives no answer.
pub async fn dismiss(paths: &MonitorPaths) {
    if let Some(monitor) = listener(&paths.ctl_socket).await {
        monitor.kill();
    }
}

/// The process that listens on a monitor's socket, whether it answers or not.
pub(super) async fn listener(path: &Path) -> Option<MonitorProcess> {
    let connection = connect(path.to_owned(), Version::CURRENT).await.ok()?;
    connection.listener()
}

async fn connect(path: PathBuf, version: Version) -> Result<Connection, MonitorError> {
    let result = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || Address::of(&path)?.connect(SocketType::SEQPACKET))
            .await
    };
    let result = result.unwrap_or_else(|error| Err(io::Error::other(error)));
    match result {
        Ok(socket) => Connection::new(socket, version),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Err(MonitorError::Gone)
        }
        Err(source) => Err(MonitorError::Connect { path, source }),
    }
}

/// Asks on a connection that nobody else uses yet. Events that come between are overtaken by the answer, but that
/// nothing is understood is told under no number.
async fn ask(connection: &Connection, id: u64, verb: Verb) -> Result<Reply, MonitorError> {
    connection.send(&Request { id, verb }, &[]).await?;
    let mut patience = WAKE;
    loop {
        let answer = match soon(patience, "the greeting", connection).await {
            Err(MonitorError::Timeout { .. }) if patience == WAKE => {
                // It may have been stopped.
                if let Some(monitor) = connection.listener() {
                    monitor.wake();
                }
                patience = ANSWER_TIMEOUT;
                continue;
            }
            other => other?,
        };
        let refused = matches!(
            answer.reply,
            Reply::Refused {
                kind: Refusal::NotUnderstood,
                ..
            }
        );
        if answer.id == id || (answer.id == EVENT && refused) {
            return Ok(answer.reply);
        }
    }
}

async fn soon(
    after: Duration,
    operation: &'static str,
    connection: &Connection,
) -> Result<Answer, MonitorError> {
    tokio::time::timeout(after, connection.receive())
        .await
        .map_err(|_| MonitorError::Timeout { operation, after })?
}

/// Reads an exit record; `None` when there is none.
pub async fn read_exit_record(path: &Path) -> Result<Option<ExitRecord>, MonitorError> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_exit_record_now(&owned)).await;
    read.unwrap_or_else(|error| {
        Err(MonitorError::ReadRecord {
            path: path.to_owned(),
            source: io::Error::other(error),
        })
    })
}

/// The same, in the caller's thread.
pub fn read_exit_record_now(path: &Path) -> Result<Option<ExitRecord>, MonitorError> {
    let text = read_capped(path).map_err(|source| MonitorError::ReadRecord {
        path: path.to_owned(),
        source,
    })?;
    let Some(text) = text else {
        return Ok(None);
    };
    record::ExitRecord::from_text(&text)
        .map(|record| Some(record.into()))
        .map_err(|source| MonitorError::BrokenRecord {
            path: path.to_owned(),
            source,
        })
}

fn read_capped(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    // One byte more than a record can have, so that a longer file is noticed.
    file.take(record::MAX_RECORD as u64 + 1)
        .read_to_end(&mut text)?;
    Ok(Some(text))
}

impl From<ExitRecord> for End {
    fn from(record: ExitRecord) -> Self {
        Self::Exited(record)
    }
}
