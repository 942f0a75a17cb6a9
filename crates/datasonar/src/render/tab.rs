//! One page in one browser: a context of its own, opened, led to its URL, waited for, read, and thrown away.
//!
//! Two things go on beside each other until one ends: the script of what is to be done ([`Tab::drive`]), and the answers to
//! what the browser asks meanwhile ([`Tab::attend`]): may this request leave, a dialog is open, a proxy wants a password. The
//! page's scripts run in their own world; what is read of the page is read from another, whose functions they cannot replace.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use datasonar_net::{AddressPolicy, FetchError, FetchErrorKind};
use futures::{StreamExt, stream::FuturesUnordered};
use http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};
use url::Url;

use super::{
    Arrival, Page, RenderError, RenderErrorKind, Rendered, Screenshot,
    browser::{Browser, Lease},
    cdp::{Cdp, CdpError, Event, Events},
    proxy::{OpenGate, Proxy, USER},
    reading::{READ, is_page, kind_of, png_size, too_large},
    requests::{CallerHeaders, MAX_REDIRECTS, Paused, Verdict, judge},
};
use crate::cpu;

/// How long the browser may take to do what depends on no page.
const OWN_WITHIN: Duration = Duration::from_secs(10);
/// How long a page that has loaded is waited for to be quiet.
const QUIET_WITHIN: Duration = Duration::from_secs(5);
/// How often it is asked for what the caller waits for.
const POLL: Duration = Duration::from_millis(100);
/// The window that a page is shown in, in CSS pixels.
const WIDTH: u32 = 1_280;
const HEIGHT: u32 = 800;
/// The longest picture of a page, in pixels.
const MAX_PICTURE_HEIGHT: f64 = 16_384.0;
/// The largest picture, encoded.
const MAX_PICTURE_BYTES: usize = 24 * 1024 * 1024;

/// What a tab needs of its surroundings.
pub(super) struct Room<'a> {
    pub(super) proxy: &'a Proxy,
    pub(super) policy: &'a AddressPolicy,
    /// What is added to the browser's name.
    pub(super) product: &'a str,
}

/// A context of a browser with one page in it. Dropped, it is thrown away, and a browser that does not do so is killed.
struct Tab<'a> {
    page: &'a Page<'a>,
    room: &'a Room<'a>,
    gate: OpenGate,
    cdp: Cdp,
    session: String,
    /// The page's, and its main frame's.
    id: String,
    state: Mutex<State>,
    changed: Notify,
    deadline: Instant,
    /// When what there is has to do.
    soon: Instant,
}

struct State {
    requests: u32,
    redirects: u32,
    caller: CallerHeaders,
    /// Where the page wanted to go last.
    at: Option<Url>,
    /// The answer that the page is.
    answer: Option<(Url, StatusCode, HeaderMap)>,
    /// Why it is not to be gone on with.
    failure: Option<RenderError>,
    /// The document's, by the browser's count.
    loader: String,
    is_parsed: bool,
    is_loaded: bool,
    is_quiet: bool,
}

/// Throws a context away.
struct Context {
    lease: Option<Lease>,
    id: String,
}

impl Drop for Context {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        let params = json!({"browserContextId": self.id});
        tokio::spawn(async move {
            let cdp = &lease.browser.cdp;
            if cdp.call("", "Target.disposeBrowserContext", params, OWN_WITHIN).await.is_err() {
                lease.browser.kill();
            }
        });
    }
}

/// Renders a page in a place of a browser. The time counts from here on.
pub(super) async fn render(
    lease: Lease,
    room: &Room<'_>,
    page: &Page<'_>,
    limit: Duration,
) -> Result<Rendered, RenderError> {
    let browser = lease.browser.clone();
    let deadline = Instant::now() + limit;
    // A page that has not come to rest when a fifth of its time is left is taken as it is then.
    let soon = deadline - (limit / 5).min(Duration::from_secs(3));
    let opened = timeout_at(deadline, Tab::open(lease, room, page, deadline, soon)).await;
    let (tab, mut events, _context) = match opened {
        Ok(opened) => opened.map_err(|error| hangs(&browser, &error))?,
        Err(_) => return Err(RenderError::timeout(limit)),
    };
    let outcome = tokio::select! {
        rendered = tab.drive() => rendered,
        failure = tab.attend(&mut events) => Err(failure),
        () = sleep_until(deadline) => Err(late(page, limit)),
    };
    // What the browser was told to break off for is the reason for whatever it said of it.
    let reason = tab.state.lock().failure.take();
    outcome.map_err(|error| {
        let error = reason.unwrap_or(error);
        if error.kind != RenderErrorKind::Browser {
            return tab.told(error);
        }
        if browser.was_starved() { RenderError::starved() } else { error }
    })
}

/// A page's time is over.
fn late(page: &Page<'_>, limit: Duration) -> RenderError {
    match page.wait_for {
        Some(selector) => {
            let message = format!("nothing that matches `{selector}` appeared within {limit:?}");
            RenderError::of(FetchErrorKind::Timeout, message)
        }
        None => RenderError::timeout(limit),
    }
}

/// A browser that does not do what depends on no page is of no use.
fn hangs(browser: &Browser, error: &CdpError) -> RenderError {
    browser.kill();
    RenderError::browser(error.to_string())
}

impl<'a> Tab<'a> {
    async fn open(
        lease: Lease,
        room: &'a Room<'a>,
        page: &'a Page<'a>,
        deadline: Instant,
        soon: Instant,
    ) -> Result<(Self, Events, Context), CdpError> {
        let browser = lease.browser.clone();
        let cdp = browser.cdp.clone();
        let gate = room.proxy.open();
        let context = json!({
            "disposeOnDetach": true,
            "proxyServer": format!("http://{}", room.proxy.address),
            "proxyBypassList": "<-loopback>",
        });
        let made = cdp.call("", "Target.createBrowserContext", context, OWN_WITHIN).await?;
        let context = Context { lease: Some(lease), id: text(&made["browserContextId"]) };
        let deny = json!({"behavior": "deny", "browserContextId": context.id});
        cdp.call("", "Browser.setDownloadBehavior", deny, OWN_WITHIN).await?;
        let target = json!({"url": "about:blank", "browserContextId": context.id, "width": WIDTH, "height": HEIGHT});
        let id = text(&cdp.call("", "Target.createTarget", target, OWN_WITHIN).await?["targetId"]);
        let attach = json!({"targetId": id, "flatten": true});
        let session = text(&cdp.call("", "Target.attachToTarget", attach, OWN_WITHIN).await?["sessionId"]);
        let events = cdp.listen(&session);
        let state = State {
            requests: 0,
            redirects: 0,
            caller: CallerHeaders::new(page.headers, page.url, page.headers_origins),
            at: None,
            answer: None,
            failure: None,
            loader: String::new(),
            is_parsed: false,
            is_loaded: false,
            is_quiet: false,
        };
        let tab = Self {
            page,
            room,
            gate,
            cdp,
            session,
            id,
            state: Mutex::new(state),
            changed: Notify::new(),
            deadline,
            soon,
        };
        tab.set_up(&browser).await?;
        Ok((tab, events, context))
    }

    async fn set_up(&self, browser: &Browser) -> Result<(), CdpError> {
        let own = |method, params| self.cdp.call(&self.session, method, params, OWN_WITHIN);
        let patterns = json!([
            {"urlPattern": "*", "requestStage": "Request"},
            {"urlPattern": "*", "requestStage": "Response", "resourceType": "Document"},
        ]);
        let given = self.page.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let user_agent = given.map_or_else(|| format!("{} {}", browser.user_agent, self.room.product), str::to_owned);
        tokio::try_join!(
            own("Page.enable", json!({})),
            own("Page.setLifecycleEventsEnabled", json!({"enabled": true})),
            own("Fetch.enable", json!({"handleAuthRequests": true, "patterns": patterns})),
            own("Emulation.setUserAgentOverride", json!({"userAgent": user_agent})),
            own("Inspector.enable", json!({})),
        )?;
        Ok(())
    }

    /// What is done with the page, from its URL to what it became.
    async fn drive(&self) -> Result<Rendered, RenderError> {
        let navigate = json!({"url": self.page.url.as_str()});
        let went = self.call("Page.navigate", navigate).await?;
        if let Some(failed) = went["errorText"].as_str() {
            return Err(self.not_reached(failed));
        }
        // It was there before the navigation came to an end.
        let status = self.state.lock().answer.as_ref().map(|(_, status, _)| *status);
        if status.is_none() {
            return Err(RenderError::page("the page led to something that is not on the web"));
        }
        match self.page.wait_for {
            Some(selector) => self.appearance(selector).await?,
            None => self.rest().await,
        }
        let screenshot = if self.page.screenshot { Some(self.picture().await?) } else { None };
        let (html, url) = self.read().await?;
        let (at, status, headers) = self.state.lock().answer.clone().expect("there is an answer since the navigation");
        if url.starts_with("chrome-error:") {
            return Err(self.not_reached("net::ERR_FAILED"));
        }
        let final_url = Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https")).unwrap_or(at);
        Ok(Rendered { final_url, status, headers, html, screenshot })
    }

    /// Waits until the page has loaded and is quiet, or has had its time.
    async fn rest(&self) {
        self.until(self.soon, |state| state.is_loaded || state.is_quiet && state.is_parsed).await;
        let quiet = (Instant::now() + QUIET_WITHIN).min(self.soon);
        self.until(quiet, |state| state.is_loaded && state.is_quiet).await;
        // One that has not come to its end is none.
        self.until(self.deadline, |state| state.is_parsed).await;
    }

    /// Waits until something is so, or the time has come. Tells which.
    async fn until(&self, end: Instant, is_so: impl Fn(&State) -> bool) -> bool {
        let so = async {
            loop {
                let changed = self.changed.notified();
                if is_so(&self.state.lock()) {
                    return;
                }
                changed.await;
            }
        };
        timeout_at(end, so).await.is_ok()
    }

    /// Waits until an element is there that the caller waits for; until it is broken off, if need be.
    async fn appearance(&self, selector: &str) -> Result<(), RenderError> {
        let wanted = format!("document.querySelector({}) !== null", json!(selector));
        loop {
            match self.evaluate(&wanted).await {
                Ok(Value::Bool(true)) => return Ok(()),
                Err(error) if error.kind == RenderErrorKind::Page => {
                    return Err(RenderError::page(format!("`wait_for` is not a selector: {}", error.message)));
                }
                // The document may just have been replaced by another.
                Ok(_) | Err(_) => {}
            }
            sleep_until(Instant::now() + POLL).await;
        }
    }

    /// The page as it is now: its HTML, and its URL.
    async fn read(&self) -> Result<(Bytes, String), RenderError> {
        let max = self.page.max_bytes;
        let expression = READ.replace("MAX", &max.to_string());
        let mut value = match self.evaluate(&expression).await {
            // Its document was replaced by another: that one, then.
            Err(error) if error.kind == RenderErrorKind::Lost => {
                self.rest().await;
                self.evaluate(&expression).await?
            }
            read => read?,
        };
        let Value::String(html) = value["html"].take() else {
            if value["length"].is_u64() {
                return Err(too_large("the rendered page", max));
            }
            return Err(RenderError::page("the page has no document"));
        };
        if html.len() as u64 > max {
            return Err(too_large("the rendered page", max));
        }
        Ok((html.into_bytes().into(), text(&value["url"])))
    }

    /// Evaluates an expression in a world that the page's scripts have no part in.
    async fn evaluate(&self, expression: &str) -> Result<Value, RenderError> {
        let world = json!({"frameId": self.id, "worldName": "datasonar"});
        let world = self.call("Page.createIsolatedWorld", world).await?;
        let params = json!({
            "expression": expression, "contextId": world["executionContextId"], "returnByValue": true, "silent": true,
        });
        let mut answer = self.call("Runtime.evaluate", params).await?;
        if let Some(thrown) = answer["exceptionDetails"]["exception"]["description"].as_str() {
            let first_line: String = thrown.lines().next().unwrap_or_default().chars().take(300).collect();
            return Err(RenderError::page(first_line));
        }
        Ok(answer["result"]["value"].take())
    }

    /// A picture of the whole page, from its top down to where it is too long.
    async fn picture(&self) -> Result<Screenshot, RenderError> {
        let metrics = self.call("Page.getLayoutMetrics", json!({})).await?;
        let height = metrics["cssContentSize"]["height"].as_f64().unwrap_or(0.0);
        let height = height.clamp(f64::from(HEIGHT), MAX_PICTURE_HEIGHT).ceil();
        let window = json!({"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": false});
        if height > f64::from(HEIGHT) {
            // What is loaded when it comes into view is in view now.
            self.state.lock().is_quiet = false;
            self.call("Emulation.setDeviceMetricsOverride", window).await?;
            let settled = (Instant::now() + Duration::from_millis(700)).min(self.soon);
            self.until(settled, |state| state.is_quiet).await;
        }
        let clip = json!({"x": 0, "y": 0, "width": WIDTH, "height": height, "scale": 1});
        let params = json!({"format": "png", "clip": clip, "captureBeyondViewport": true, "optimizeForSpeed": false});
        let data = text(&self.call("Page.captureScreenshot", params).await?["data"]);
        if data.len() / 4 * 3 > MAX_PICTURE_BYTES {
            return Err(too_large("the picture of the page", MAX_PICTURE_BYTES as u64));
        }
        let png = cpu::run_sound(move || BASE64_STANDARD.decode(data)).await;
        let png: Bytes = png.map_err(|_| RenderError::browser("its picture is not base64".to_owned()))?.into();
        let (width, height) = png_size(&png).ok_or_else(|| RenderError::browser("its picture is no PNG".to_owned()))?;
        Ok(Screenshot { png, width, height })
    }

    async fn call(&self, method: &'static str, params: Value) -> Result<Value, RenderError> {
        let left = self.deadline.saturating_duration_since(Instant::now()) + OWN_WITHIN;
        self.cdp.call(&self.session, method, params, left).await.map_err(|error| match error {
            CdpError::Refused { .. } => RenderError::lost(error.to_string()),
            CdpError::Gone | CdpError::Late(_) => RenderError::browser(error.to_string()),
        })
    }

    /// Does what the browser asks for, until it is not to be gone on with.
    async fn attend(&self, events: &mut Events) -> RenderError {
        let mut decisions = FuturesUnordered::new();
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => {
                        if let Some(paused) = self.hear(event) {
                            decisions.push(self.decide(paused));
                        }
                    }
                    None => return RenderError::browser("the browser ended, or the page kept it too busy".to_owned()),
                },
                Some(()) = decisions.next() => {}
            }
            if let Some(failure) = self.state.lock().failure.take() {
                return failure;
            }
        }
    }

    /// Deals with an event. Answers a request that has to be decided about.
    fn hear(&self, event: Event) -> Option<Paused> {
        let params = event.params;
        match event.method.as_str() {
            "Fetch.requestPaused" => return Paused::read(&params, &self.id),
            "Fetch.authRequired" => self.let_in(&params),
            "Page.javascriptDialogOpening" => self.tell(("Page.handleJavaScriptDialog", json!({"accept": false}))),
            "Page.lifecycleEvent" => self.follow(&params),
            "Inspector.targetCrashed" | "Inspector.detached" => {
                self.fail(RenderError::browser("the page's process ended".to_owned()));
            }
            _ => {}
        }
        None
    }

    fn let_in(&self, params: &Value) {
        let is_ours = params["authChallenge"]["source"] == "Proxy";
        let answer = if is_ours {
            json!({"response": "ProvideCredentials", "username": USER, "password": self.gate.password})
        } else {
            json!({"response": "CancelAuth"})
        };
        let params = json!({"requestId": params["requestId"], "authChallengeResponse": answer});
        self.tell(("Fetch.continueWithAuth", params));
    }

    /// Keeps up with how far the page has come.
    fn follow(&self, params: &Value) {
        if params["frameId"] != self.id {
            return;
        }
        let mut state = self.state.lock();
        let loader = params["loaderId"].as_str().unwrap_or_default();
        match params["name"].as_str().unwrap_or_default() {
            "init" if loader != state.loader => {
                loader.clone_into(&mut state.loader);
                (state.is_parsed, state.is_loaded, state.is_quiet) = (false, false, false);
            }
            _ if loader != state.loader => {}
            "DOMContentLoaded" => state.is_parsed = true,
            "load" => state.is_loaded = true,
            "networkIdle" => state.is_quiet = true,
            _ => {}
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Decides about a request, or about the answer to it.
    async fn decide(&self, paused: Paused) {
        let command = match (&paused.answer, paused.is_page) {
            (None, true) => match self.may_go(&paused).await {
                Ok(headers) => paused.go_on(&headers),
                Err(failure) => {
                    self.fail(failure);
                    paused.refuse()
                }
            },
            (None, false) => {
                let (requests, headers) = {
                    let mut state = self.state.lock();
                    state.requests = state.requests.saturating_add(1);
                    (state.requests, state.caller.of_part(paused.url.as_ref()))
                };
                match judge(paused.kind, self.page.screenshot, requests) {
                    Verdict::GoesOn => paused.go_on(&headers),
                    Verdict::Blank => paused.blank(),
                    Verdict::Refused => paused.refuse(),
                }
            }
            (Some(_), true) => match self.arrive(&paused) {
                Ok(true) => paused.take(),
                Ok(false) => paused.refuse(),
                Err(failure) => {
                    self.fail(failure);
                    paused.refuse()
                }
            },
            (Some(_), false) => paused.take(),
        };
        self.tell(command);
    }

    /// Whether the page itself may go where it wants to, and with which of the caller's headers.
    async fn may_go(&self, paused: &Paused) -> Result<HeaderMap, RenderError> {
        let url = paused.url.as_ref().ok_or_else(|| RenderError::page("the page led to something that is no URL"))?;
        self.room.policy.check_url(url).map_err(|refused| RenderError::fetch(FetchError::from(refused)))?;
        let is_first = {
            let mut state = self.state.lock();
            state.at = Some(url.clone());
            state.requests = state.requests.saturating_add(1);
            let is_first = state.requests == 1;
            state.redirects += u32::from(!is_first);
            if state.redirects > MAX_REDIRECTS {
                let message = format!("more than {MAX_REDIRECTS} redirects");
                return Err(RenderError::of(FetchErrorKind::TooManyRedirects, message));
            }
            is_first
        };
        if !is_first
            && let Some(guard) = self.page.guard
            && !guard.allows(url.clone()).await
        {
            let message = format!("the redirect to {url} is not to be followed");
            return Err(RenderError::of(FetchErrorKind::RedirectRefused, message));
        }
        Ok(self.state.lock().caller.of_page(url).clone())
    }

    /// Looks at the answer that the page is, and tells whether it is taken. A page that is there stays when its script leads to a
    /// file.
    fn arrive(&self, paused: &Paused) -> Result<bool, RenderError> {
        let (Some((status, headers)), Some(url)) = (&paused.answer, &paused.url) else { return Ok(true) };
        if paused.is_refusal(&self.gate.mark) {
            return Err(self.refusal(url, "the page was not reached"));
        }
        if paused.is_redirected() {
            return Ok(true);
        }
        let mut state = self.state.lock();
        if status.is_success() && !is_page(*status, headers) {
            if state.answer.is_some() {
                return Ok(false);
            }
            state.answer = Some((url.clone(), *status, headers.clone()));
            return Err(RenderError { kind: RenderErrorKind::NotHtml, ..RenderError::page("the page is not HTML") });
        }
        state.answer = Some((url.clone(), *status, headers.clone()));
        if !status.is_success() {
            let message = format!("the page answered {status}");
            return Err(RenderError { kind: RenderErrorKind::Refused, ..RenderError::page(message) });
        }
        Ok(true)
    }

    /// Why the browser did not get to the page.
    fn not_reached(&self, failed: &str) -> RenderError {
        let at = self.state.lock().at.clone();
        let url = at.as_ref().unwrap_or(self.page.url);
        let name = failed.strip_prefix("net::").unwrap_or(failed);
        if self.gate.is_spent() {
            return RenderError::of(FetchErrorKind::BodyTooLarge, "the page and what it asks for are too large");
        }
        if let Some(refused) = self.gate.refusal(url) {
            return RenderError::fetch(refused);
        }
        if let Some(kind) = kind_of(name) {
            return RenderError::of(kind, format!("{url} was not reached: {name}"));
        }
        RenderError::page(format!("the browser did not open the page: {name}"))
    }

    /// Why the proxy did not reach a URL.
    fn refusal(&self, url: &Url, otherwise: &str) -> RenderError {
        self.gate.refusal(url).map_or_else(|| RenderError::of(FetchErrorKind::Protocol, otherwise), RenderError::fetch)
    }

    /// Adds what is known of how far the page came.
    fn told(&self, error: RenderError) -> RenderError {
        match self.state.lock().answer.take() {
            Some((url, status, headers)) => {
                RenderError { answer: Some(Arc::new(Arrival { url, status, headers })), ..error }
            }
            None => error,
        }
    }

    /// The first reason is the one that counts.
    fn fail(&self, failure: RenderError) {
        self.state.lock().failure.get_or_insert(failure);
    }

    fn tell(&self, (method, params): (&'static str, Value)) {
        self.cdp.tell(&self.session, method, &params);
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
