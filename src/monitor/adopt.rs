//! Finding a monitor again.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use corten_conmon::{
    ctl::{Answer, CreateFailure, Phase, Reply, Request, Verb},
    record,
    socket::Address,
};
use rustix::net::SocketType;

use super::{
    End, ExitRecord, Monitor, MonitorError,
    client::{ANSWER_TIMEOUT, unexpected},
    link::Connection,
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
    let connection = connect(paths.ctl_socket.clone()).await?;
    let hello = ask(&connection, 1, Verb::Hello).await?;
    let Reply::Hello { monitor } = hello else {
        return Err(unexpected("the greeting", hello));
    };
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
            connection, pid, monitor, record, known,
        )));
    }
}

async fn connect(path: PathBuf) -> Result<Connection, MonitorError> {
    let result = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || Address::of(&path)?.connect(SocketType::SEQPACKET))
            .await
    };
    let result = result.unwrap_or_else(|error| Err(io::Error::other(error)));
    match result {
        Ok(socket) => Connection::new(socket),
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

/// Asks on a connection that nobody else uses yet. Events that come between are overtaken by the answer.
async fn ask(connection: &Connection, id: u64, verb: Verb) -> Result<Reply, MonitorError> {
    connection.send(&Request { id, verb }, &[]).await?;
    loop {
        let answer = soon(ANSWER_TIMEOUT, "the greeting", connection).await?;
        if answer.id == id {
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
    let read = tokio::task::spawn_blocking(move || read_capped(&owned)).await;
    let failed = |source| MonitorError::ReadRecord {
        path: path.to_owned(),
        source,
    };
    let Some(text) = read
        .map_err(|error| failed(io::Error::other(error)))?
        .map_err(failed)?
    else {
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
