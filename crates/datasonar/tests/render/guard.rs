//! What a page's scripts cannot reach: this machine, its network, and what hands out credentials there.
//!
//! Two witnesses: a trap at 127.0.0.1 that counts whatever comes, over TCP or UDP, by whatever way, and the dialer, which
//! notes every address that the server was about to connect to.

use std::{net::IpAddr, sync::Arc};

use serde_json::{Value, json};

use super::{
    server::{Server, until},
    web::{Answer, Site, Trap, Wires, content, scrape, setup},
};

/// Tries everything that a page can connect by, and tells of each attempt that it was made and how it ended.
const ATTACK: &str = r#"<!doctype html><html><head>
    <link rel=stylesheet href=http://127.0.0.1:PORT/style.css>
    <link rel=preconnect href=http://127.0.0.1:PORT/><link rel=dns-prefetch href=http://127.0.0.1:PORT/>
    <link rel=prefetch href=http://127.0.0.1:PORT/prefetch><link rel=preload as=script href=http://127.0.0.1:PORT/preload>
    <link rel=icon href=http://127.0.0.1:PORT/icon><link rel=manifest href=http://127.0.0.1:PORT/manifest>
    <script src=http://127.0.0.1:PORT/script.js></script>
    <script type=speculationrules>{"prerender": [{"source": "list", "urls": ["/redirect"]}]}</script>
    <style>@import url(http://127.0.0.1:PORT/import.css); @font-face { font-family: x; src: url(http://127.0.0.1:PORT/f.woff) }
    p { font-family: x; background: url(http://127.0.0.1:PORT/background.png) }</style></head><body>
    <p>The attacks:</p><ul id=list></ul>
    <img src=http://127.0.0.1:PORT/image.png><img src=http://localhost:PORT/image.png><img src=/redirect>
    <iframe src=http://127.0.0.1:PORT/frame></iframe><iframe src=http://private.test:PORT/frame></iframe><iframe src=/redirect></iframe>
    <iframe src=file:///etc/passwd></iframe>
    <object data=http://127.0.0.1:PORT/object></object><embed src=http://127.0.0.1:PORT/embed>
    <video src=http://127.0.0.1:PORT/video.mp4></video><audio src=http://127.0.0.1:PORT/a.mp3></audio>
    <form id=form method=post target=hole action=http://127.0.0.1:PORT/form><input name=a value=b></form><iframe name=hole></iframe>
    <script>
    const host = '127.0.0.1:PORT';
    const note = (what, how) => { const li = document.createElement('li'); li.textContent = `${what}: ${how}`; list.append(li) };
    const attempt = async (what, make) => {
        try { const got = await make(); note(what, `came back with ${JSON.stringify(got)}`) }
        catch (error) { note(what, `failed`) }
    };
    const get = (url, options) => attempt(url, async () => {
        const answer = await fetch(url, options); return answer.type == 'opaque' ? 'opaque' : [answer.status, (await answer.text()).slice(0, 50)];
    });
    const names = ['127.0.0.1', 'localhost', 'private.test', '[::1]', '[::ffff:127.0.0.1]', '0.0.0.0', '0x7f000001', '2130706433', '127.1'];
    const later = (target, fail) => new Promise((good, bad) => { target.onopen = () => good('open'); target.onmessage = () => good('message');
        target.onerror = () => bad(); setTimeout(bad, 4000) });
    const all = [
        ...names.map(name => get(`http://${name}:PORT/by-${name}`)),
        ...names.map(name => get(`http://${name}:PORT/by-${name}`, {mode: 'no-cors'})),
        get(`https://${host}/tls`), get('http://169.254.169.254/latest/meta-data/'), get('http://metadata.test/latest/meta-data/'),
        get('http://169.254.169.254/', {mode: 'no-cors', headers: {}}), get('http://lan.test/'), get('http://10.0.0.1/', {mode: 'no-cors'}),
        get('/redirect'), get('/redirect', {mode: 'no-cors'}), get('/metadata'), get('file:///etc/passwd'),
        get(`http://${host}/post`, {method: 'POST', mode: 'no-cors', body: 'x=1', keepalive: true}),
        attempt('socket', () => later(new WebSocket(`ws://${host}/socket`))),
        attempt('secure socket', () => later(new WebSocket(`wss://${host}/socket`))),
        attempt('socket by name', () => later(new WebSocket(`ws://private.test:PORT/socket`))),
        attempt('events', () => later(new EventSource(`http://${host}/events`))),
        attempt('beacon', () => { if (!navigator.sendBeacon(`http://${host}/beacon`, 'x')) throw 0 ; throw 0 }),
        attempt('request', () => new Promise((good, bad) => { const it = new XMLHttpRequest(); it.open('GET', `http://${host}/xhr`);
            it.onload = () => good(it.status); it.onerror = bad; it.send() })),
        attempt('worker', () => new Promise((good, bad) => {
            const code = `fetch('http://${host}/worker').then(a => postMessage('came'), () => postMessage('failed'));
                try { importScripts('http://${host}/import.js') } catch {}`;
            const it = new Worker(URL.createObjectURL(new Blob([code])));
            it.onmessage = said => said.data == 'came' ? good('came') : bad(); it.onerror = bad })),
        attempt('shared worker', () => new Promise((good, bad) => {
            const code = `onconnect = e => fetch('http://${host}/shared').then(
                () => e.ports[0].postMessage('came'), () => e.ports[0].postMessage('failed'))`;
            const it = new SharedWorker(URL.createObjectURL(new Blob([code])));
            it.port.onmessage = said => said.data == 'came' ? good('came') : bad(); it.onerror = bad })),
        attempt('peer', async () => {
            const it = new RTCPeerConnection({iceServers: [{urls: 'stun:127.0.0.1:PORT'},
                {urls: ['turn:127.0.0.1:PORT?transport=udp', 'turn:127.0.0.1:PORT?transport=tcp'], username: 'a', credential: 'b'}]});
            it.createDataChannel('x'); await it.setLocalDescription(await it.createOffer());
            await it.setRemoteDescription({type: 'answer', sdp: it.localDescription.sdp.replace('a=setup:actpass', 'a=setup:active')}).catch(() => {});
            await it.addIceCandidate({candidate: 'candidate:1 1 udp 2122260223 127.0.0.1 PORT typ host', sdpMid: '0'}).catch(() => {});
            await it.addIceCandidate({candidate: 'candidate:2 1 tcp 1518280447 127.0.0.1 PORT typ host tcptype passive', sdpMid: '0'}).catch(() => {});
            await new Promise(done => setTimeout(done, 2500)); throw 0 }),
        attempt('transport', async () => { const it = new WebTransport(`https://${host}/transport`); await it.ready; return 'ready' }),
        attempt('module', () => import(`http://${host}/module.js`)),
        attempt('window', () => { const it = open(`http://${host}/window`); if (!it) throw 0; return 'opened' }),
    ];
    form.submit();
    Promise.allSettled(all).then(() => { document.body.insertAdjacentHTML('beforeend', '<p id=done>All is tried.</p>') });
    </script></body></html>"#;

async fn attacked(trap: &Trap, site: &Site) -> String {
    site.page("/redirect", Answer::to(format!("http://127.0.0.1:{}/redirected", trap.port)));
    site.page("/metadata", Answer::to("http://169.254.169.254/latest/meta-data/"));
    site.page("/attack", Answer::html(ATTACK.replace("PORT", &trap.port.to_string())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_reaches_nothing_private_whatever_it_tries() {
    let (trap, site, wires) = (Trap::set().await, Site::start().await, Wires::default());
    let server = setup().network(Arc::new(wires.clone()), Arc::new(wires.clone())).start().await;
    attacked(&trap, &site).await;
    // By a name, and seen, so that nothing is left out because nobody looks.
    let url = format!("http://site.test:{}/attack", site.address.port());
    for url in [url, site.url("/attack")] {
        let body = json!({"url": url, "format": ["html", "screenshot"], "render": "always", "wait_for": "#done",
            "only_main_content": false, "timeout": 60});
        let page = scrape(&server, body).await;
        assert_eq!(page["status"], "success", "{page}");
        let html = page["content"]["html"].as_str().unwrap();
        let told: Vec<&str> = html.split("<li>").skip(1).map(|item| item.split("</li>").next().unwrap()).collect();
        assert!(told.len() > 35, "it told of {} attempts: {html}", told.len());
        for attempt in &told {
            // A plain request that is refused is answered by the proxy, as far as a script may see answers at all.
            let is_refused =
                attempt.ends_with("failed") || attempt.ends_with("with \"opaque\"") || attempt.contains("[502,");
            assert!(is_refused, "{attempt}");
        }
        for name in ["socket", "worker", "shared worker", "peer", "transport", "beacon", "events", "module"] {
            assert!(told.contains(&&*format!("{name}: failed")), "{name} was tried, and failed: {told:#?}");
        }
    }
    assert_eq!(trap.caught(), [""; 0], "nothing came to 127.0.0.1");
    let site_address: IpAddr = "127.0.0.2".parse().unwrap();
    let dialled = wires.dialled();
    assert!(dialled.len() > 4, "{dialled:?}");
    assert!(dialled.iter().all(|address| address.ip() == site_address), "{dialled:?}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_itself_is_not_led_to_where_it_may_not_go() {
    let (trap, site, wires) = (Trap::set().await, Site::start().await, Wires::default());
    let server = setup().network(Arc::new(wires.clone()), Arc::new(wires.clone())).start().await;
    let port = trap.port;
    let private = format!("http://127.0.0.1:{port}/");
    let named = format!("http://private.test:{port}/");
    let script = |to: &str| Answer::html(format!("<p>Before.</p><script>location = '{to}'</script>"));
    for (path, answer) in [
        ("/by-address", Answer::to(&*private)),
        ("/by-name", Answer::to(&*named)),
        ("/by-metadata", Answer::to("http://169.254.169.254/latest/meta-data/")),
        ("/by-name-of-metadata", Answer::to("http://metadata.test/latest/meta-data/")),
        ("/by-tls", Answer::to(named.replace("http:", "https:"))),
        ("/by-script", script(&private)),
        ("/by-scripts-name", script(&named)),
        ("/by-refresh", Answer::html(format!("<meta http-equiv=refresh content='0;url={named}'>"))),
    ] {
        let url = site.page(path, answer);
        let page = server.post("/v1/scrape", &json!({"url": url, "render": "always"})).await.is(422);
        assert_eq!(page["error"]["code"], "blocked_address", "{path}: {page}");
        assert!(page.get("content").is_none());
    }
    let file = site.page("/by-file", script("file:///etc/passwd"));
    let file = scrape(&server, json!({"url": file, "render": "always"})).await;
    assert!(!file.to_string().contains("root:"), "{file}");
    for url in [&private, &named] {
        let page = server.post("/v1/scrape", &json!({"url": url, "render": "always"})).await.is(422);
        assert_eq!(page["error"]["code"], "blocked_address", "{page}");
    }
    assert_eq!(trap.caught(), [""; 0]);
    assert!(wires.dialled().iter().all(|address| address.ip().to_string() == "127.0.0.2"), "{:?}", wires.dialled());
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_operator_allows_is_reached_over_sockets_and_tunnels_too() {
    let (trap, site) = (Trap::set().await, Site::start().await);
    let server = setup().flag("allow_private_networks", "127.0.0.0/8").start().await;
    let other = Site::at("127.0.0.1").await;
    let data = other
        .page("/data", Answer::Is(200, vec![("access-control-allow-origin", "*".to_owned())], "allowed".to_owned()));
    let page = site.page("/page", Answer::html(format!(
        "<p id=x>nothing</p><script>fetch('{data}').then(a => a.text()).then(text => {{ x.textContent = `It is ${{text}}.` }});
 const socket = new Promise(done => {{ new WebSocket('ws://127.0.0.1:{}/socket').onerror = done }});
         const tls = fetch('https://127.0.0.1:{}/tls').catch(() => 0);
         Promise.all([socket, tls]).then(() => {{ document.body.append(Object.assign(document.createElement('p'), {{id: 'done'}})) }})</script>",
        trap.port, trap.port,
    )));
    let body = json!({"url": page, "render": "always", "format": "text", "wait_for": "#done"});
    let page = content(&scrape(&server, body).await);
    assert!(page.contains("It is allowed."), "{page}");
    until("a socket and a handshake", async || {
        let caught = trap.caught();
        let has = |what: &str| caught.iter().any(|one| one.contains(what));
        (has("GET /socket HTTP/1.1") && has("tcp: \u{16}\u{3}\u{1}")).then_some(())
    })
    .await;
    server.finish().await;
}

#[tokio::test]
async fn downloads_dialogs_and_windows_come_to_nothing() {
    let site = Site::start().await;
    let server: Server = setup().start().await;
    let file =
        vec![("content-type", "application/octet-stream".to_owned()), ("content-disposition", "attachment".to_owned())];
    site.page("/file", Answer::Is(200, file, "\0\u{1}\u{2}".repeat(1_000)));
    site.page("/popup", Answer::html("<p>A window.</p>"));
    let page = site.page("/page", Answer::html(
        "<body><p id=x>Before.</p><a id=a href=/file download>file</a><a id=b href=/popup target=_blank>window</a><script>
         alert('one'); const yes = confirm('two'), said = prompt('three', 'default');
         a.click(); b.click(); open('/popup');
         onbeforeunload = event => event.preventDefault();
         x.textContent = `The answers are ${yes} and ${said}.`</script>",
    ));
    let page = content(&scrape(&server, json!({"url": page, "render": "always", "format": "text"})).await);
    assert!(page.contains("The answers are false and null."), "{page}");
    let file = scrape(&server, json!({"url": site.url("/file"), "render": "always"})).await;
    assert_eq!(file["error"]["code"], "unsupported_content", "{file}");
    assert_eq!(file["status_code"], Value::from(200));
    server.finish().await;
}
