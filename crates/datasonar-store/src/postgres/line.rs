//! A connection to the server, driven by whoever waits for it.
//!
//! **Role.** Sends requests and hands over their answers. The server answers in order, and works on one request while the next is on its
//! way: so requests whose answers nobody needs at once are only sent ([`Line::send`]), and what is asked after them waits for all. A
//! transaction then costs as many round trips as it has questions, however many rows it writes.
//!
//! **Protocol.** An answer that is an error is told to whoever waits next; the first one counts, since those after it are
//! its consequences. The connection has a runtime of one thread, which runs while somebody waits: handing the work to tokio's threads would
//! cost two switches of threads for each round trip.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How many answers may be outstanding before they are waited for.
const OUTSTANDING: usize = 256;

/// A request that was not sent yet, or its answer.
pub(super) type Request<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;
type Driver = Box<dyn FnMut(&mut Context<'_>) -> Poll<Result<(), Error>> + Send>;

/// A connection.
pub(super) struct Line {
    /// Some until it is dropped.
    runtime: Option<Runtime>,
    client: Arc<Client>,
    driver: RefCell<Option<Driver>>,
    /// What was sent and not answered, in order.
    outstanding: RefCell<Vec<Request<()>>>,
}

impl Line {
    /// Connects. To be called where waiting is allowed.
    pub(super) fn connect(config: &Config, tls: Option<MakeRustlsConnect>) -> Result<Self, Error> {
        let runtime = Builder::new_current_thread().enable_all().build().expect("the system has a poller to give");
        let (client, driver): (_, Driver) = match tls {
            Some(tls) => {
                let (client, mut connection) = runtime.block_on(config.connect(tls))?;
                (client, Box::new(move |context| drive(|context| connection.poll_message(context), context)))
            }
            None => {
                let (client, mut connection) = runtime.block_on(config.connect(NoTls))?;
                (client, Box::new(move |context| drive(|context| connection.poll_message(context), context)))
            }
        };
        Ok(Self {
            runtime: Some(runtime),
            client: Arc::new(client),
            driver: RefCell::new(Some(driver)),
            outstanding: RefCell::default(),
        })
    }

    /// What requests are made with: to be sent by [`send`](Self::send) or [`ask`](Self::ask).
    pub(super) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// Sends a request. Its error, if it has one, is told to whoever asks next.
    pub(super) fn send(&self, request: impl Future<Output = Result<(), Error>> + Send + 'static) -> Result<(), Error> {
        self.put(Box::pin(request));
        if self.outstanding.borrow().len() < OUTSTANDING { Ok(()) } else { self.settle() }
    }

    /// Sends a request and waits for its answer, and for all that were sent before.
    pub(super) fn ask<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut request = std::pin::pin!(request);
        let answer = self.wait(|context| request.as_mut().poll(context));
        self.collect()?;
        answer
    }

    /// Sends requests, all before the first is answered, and waits for their answers.
    pub(super) fn ask_all<T: 'static>(&self, requests: Vec<Request<T>>) -> Result<Vec<T>, Error> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter();
        loop {
            let mut batch: Vec<Request<T>> = requests.by_ref().take(OUTSTANDING).collect();
            if batch.is_empty() {
                return Ok(answers);
            }
            for request in &mut batch {
                // Sent in this order by being polled in this order; none can be answered before somebody drives the connection.
                let early = request.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                if let Poll::Ready(answer) = early {
                    self.collect()?;
                    return Err(answer.err().expect("nothing is answered before it was sent"));
                }
            }
            for mut request in batch {
                let answer = self.wait(|context| request.as_mut().poll(context));
                self.collect()?;
                answers.push(answer?);
            }
        }
    }

    /// Waits for the answers to all that was sent.
    pub(super) fn settle(&self) -> Result<(), Error> {
        let sent = self.outstanding.take();
        let mut first = Ok(());
        for mut request in sent {
            let answer = self.wait(|context| request.as_mut().poll(context));
            first = first.and(answer);
        }
        first
    }

    fn put(&self, mut request: Request<()>) {
        // The first poll writes it out; it is answered only when somebody waits.
        match request.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => self.outstanding.borrow_mut().push(request),
            Poll::Ready(answer) => self.outstanding.borrow_mut().push(Box::pin(std::future::ready(answer))),
        }
    }

    /// Takes the answers to what was sent before something that is answered.
    fn collect(&self) -> Result<(), Error> {
        if self.outstanding.borrow().is_empty() { Ok(()) } else { self.settle() }
    }

    /// Drives the connection until there is an answer.
    fn wait<T>(&self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<Result<T, Error>>) -> Result<T, Error> {
        let runtime = self.runtime.as_ref().expect("it is there until it is dropped");
        runtime.block_on(poll_fn(|context| {
            if let Poll::Ready(answer) = poll(context) {
                return Poll::Ready(answer);
            }
            let mut driver = self.driver.borrow_mut();
            // Once it has ended, what waits is told so by the client's own channel.
            if let Some(drive) = driver.as_mut()
                && drive(context).is_ready()
            {
                *driver = None;
            }
            drop(driver);
            poll(context)
        }))
    }
}

fn drive(
    mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<AsyncMessage, Error>>>,
    context: &mut Context<'_>,
) -> Poll<Result<(), Error>> {
    loop {
        match std::task::ready!(next(context)) {
            Some(Ok(AsyncMessage::Notice(notice))) => tracing::debug!(%notice, "the database says"),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => return Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Line {
    /// Ends the runtime without waiting for it, which is not allowed on threads that run async code, where a store may be dropped.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
