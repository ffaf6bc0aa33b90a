'use strict';
// The rest of the page: the visitor's requests, the buttons, and what the nodes say of themselves.

const TOKEN = document.documentElement.dataset.token;
const POLL_MS = 250;
const JOURNAL_LINES_MAX = 300;
const AT_ONCE = 20;
const THEMES = ['day', 'night', 'sea', 'ember'];
const WORDS = { up: 'up', starting: 'starting', paused: 'paused', ending: 'ending', dead: 'dead', silent: 'no answer' };

const byId = (id) => document.getElementById(id);
const state = { choice: 'turn', after: 0, startedAt: null, views: new Map(), names: [], answered: 0, sent: 0, csrf: '' };

// ---- small things -------------------------------------------------------------------------

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function plural(count, word) {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}

function clock(atMs) {
  const total = Math.max(0, Math.round(atMs));
  const seconds = String(Math.floor(total / 1000) % 60).padStart(2, '0');
  return `${Math.floor(total / 60000)}:${seconds}.${String(total % 1000).padStart(3, '0')}`;
}

function note(who, text, { yours = false, failed = false, atMs = null } = {}) {
  const at = atMs ?? (state.startedAt === null ? 0 : performance.now() - state.startedAt);
  const line = element('li', { className: `${yours ? 'yours' : ''} ${failed ? 'failed' : ''}` },
    element('time', { textContent: clock(at) }),
    element('span', { className: 'who', textContent: who }),
    element('span', { textContent: text }));
  const journal = byId('journal');
  journal.prepend(line);
  while (journal.childElementCount > JOURNAL_LINES_MAX) journal.lastElementChild.remove();
}

// ---- requests of the visitor --------------------------------------------------------------

// Sends one request and returns what came of it; never throws.
async function request(path, fields = null, { asGuest = false } = {}) {
  const order = ++state.sent;
  const started = performance.now();
  const options = {
    method: fields ? 'POST' : 'GET',
    headers: { accept: 'application/json', 'demo-node': state.choice },
    credentials: asGuest ? 'omit' : 'same-origin',
    body: fields ? new URLSearchParams({ ...fields, csrf: state.csrf }) : undefined,
  };
  let answer = null, data = null, text = 'the demonstration has ended';
  try {
    answer = await fetch(path, options);
    text = await answer.text();
    if (answer.headers.get('content-type')?.startsWith('application/json')) data = JSON.parse(text);
  } catch { /* There is no answer: `text` says so. */ }
  const header = (name) => answer?.headers.get(name) ?? null;
  const result = {
    order, data, asGuest, text: text.trim(), ok: answer?.ok ?? false, status: answer?.status ?? 0,
    node: header('replica-node'), ack: header('replica-ack'), passed: header('demo-passed'),
    tookMs: performance.now() - started, what: path === '/shop/state' ? 'look' : path.replace('/shop/', ''),
  };
  if (result.node) Picture.served(result.node, result.ok && (fields !== null || asGuest), state.views);
  return result;
}

function describe(result) {
  const parts = [result.what, result.ok ? `${Math.round(result.tookMs)} ms` : `${result.status || 'no answer'}: ${result.text}`];
  if (result.ack) parts.push(`ack ${result.ack}`);
  if (result.passed) parts.push(`passed over: ${result.passed}`);
  return parts.join(' · ');
}

// Shows an answer; an older one that arrives late does not go over a newer one.
function show(result) {
  const answer = byId('answer');
  answer.classList.toggle('failed', !result.ok);
  const who = element('b', { textContent: result.node ?? 'nobody' });
  answer.replaceChildren('served by ', who, ` · ${describe(result)}`);
  if (!result.data || result.asGuest || result.order < state.answered) return;
  state.answered = result.order;
  showSession(result.data);
}

function showSession(session) {
  state.csrf = session.csrf;
  byId('login').hidden = session.user !== null;
  byId('logout').hidden = session.user === null;
  byId('signed-in').textContent = session.user ?? '';
  byId('visits').textContent = session.visits;
  if (session.theme) document.documentElement.dataset.theme = session.theme;
  else delete document.documentElement.dataset.theme;
  for (const button of byId('themes').children) {
    button.setAttribute('aria-pressed', String(button.dataset.theme === session.theme));
  }
  const items = session.cart.map((item) => {
    const remove = element('button', { type: 'button', textContent: '✕', title: `Remove ${item}` });
    remove.setAttribute('aria-label', `Remove ${item}`);
    remove.addEventListener('click', async () => {
      await ask('/shop/remove', { item });
      byId('item').focus();
    });
    return element('li', {}, element('span', { textContent: item }), remove);
  });
  byId('cart').replaceChildren(...(items.length ? items : [element('li', { className: 'note', textContent: 'empty' })]));
}

async function ask(path, fields = null) {
  const result = await request(path, fields);
  show(result);
  note(result.node ?? '–', describe(result), { yours: true, failed: !result.ok });
  // After a log-out, and where the session of this page is no more, another one begins.
  if (result.status === 204 || result.status === 403 || result.status === 410) await ask('/shop/state');
  return result;
}

// Requests in one moment: of this visitor, or each of a new one.
async function many(asGuest) {
  const before = Number(byId('visits').textContent) || 0;
  const started = performance.now();
  const send = () => asGuest ? request('/shop/state', null, { asGuest }) : request('/shop/visit', {});
  const results = await Promise.all(Array.from({ length: AT_ONCE }, send));
  const took = Math.round(performance.now() - started);
  const served = new Map();
  for (const { ok, node } of results) if (ok) served.set(node, (served.get(node) ?? 0) + 1);
  const failed = results.filter(({ ok }) => !ok);
  const by = [...served].sort().map(([node, count]) => `${node} ${count}`).join(', ');
  let text = `${AT_ONCE - failed.length} of ${AT_ONCE} in ${took} ms (${by || 'nobody'})`;
  if (failed.length) text += `; ${describe(failed[0])}`;
  if (!asGuest) {
    const after = await request('/shop/state');
    show(after);
    if (after.ok) text += `; the counter went from ${before} to ${after.data.visits}`;
  }
  byId('many-result').textContent = text;
  note('all', `${asGuest ? 'guests' : 'at once'}: ${text}`, { yours: true, failed: failed.length > 0 });
}

// ---- the nodes ----------------------------------------------------------------------------

async function act(name, action) {
  const options = { method: 'POST', headers: { 'demo-token': TOKEN } };
  try {
    const answer = await fetch(`/demo/nodes/${name}/${action}`, options);
    if (!answer.ok) note(name, (await answer.text()).trim(), { failed: true });
  } catch {
    note(name, 'the demonstration has ended', { failed: true });
  }
  poll();
}

function buildNodes(names) {
  state.names = names;
  Picture.build(names);
  byId('nodes').replaceChildren(...names.map(buildCard));
  const choices = [['turn', 'each in turn'], ...names.map((name) => [name, name])];
  byId('choice').replaceChildren(...choices.map(([value, words]) => {
    const input = element('input', { type: 'radio', name: 'choice', value, checked: value === state.choice });
    input.addEventListener('change', () => { state.choice = value; updatePicture(); });
    return element('label', {}, input, element('span', { textContent: words }));
  }));
}

function buildCard(name) {
  const button = (className) => {
    const made = element('button', { type: 'button', className });
    made.addEventListener('click', () => act(name, made.dataset.action));
    return made;
  };
  return element('li', { id: `node-${name}` },
    element('div', { className: 'title' }, element('b', { textContent: name }), element('span', { className: 'state' })),
    element('div', { className: 'facts' }),
    element('div', { className: 'row' }, button('pause'), button('kill'), button('restart')));
}

function setButton(card, className, name, action, words, enabled) {
  const button = card.querySelector(`.${className}`);
  if (button.textContent === words && button.disabled === !enabled) return;
  button.dataset.action = action;
  button.textContent = words;
  button.disabled = !enabled;
  button.setAttribute('aria-label', `${words} ${name}`);
}

function updateCard(name, node, view) {
  const card = byId(`node-${name}`);
  card.className = view.look;
  card.querySelector('.state').textContent = WORDS[view.look];
  const facts = [node.pid ? `pid ${node.pid}` : 'no process'];
  if (view.held > 0) facts.push(plural(view.held, 'session'));
  if (view.lacking > 0) facts.push(`${view.lacking} behind`);
  card.querySelector('.facts').textContent = facts.join(' · ');
  const isDead = node.phase === 'dead', isPaused = node.phase === 'paused';
  if (isPaused) setButton(card, 'pause', name, 'resume', 'Resume', true);
  else setButton(card, 'pause', name, 'pause', 'Pause', node.phase === 'up');
  setButton(card, 'kill', name, 'kill', 'Kill', !isDead);
  setButton(card, 'restart', name, 'restart', isDead ? 'Start' : 'Restart', node.phase !== 'ending');
}

// What the picture shows of a node; how far it is behind is what the others know.
function viewOf(node, nodes) {
  const isAlive = node.phase !== 'dead' && node.phase !== 'starting';
  const look = node.phase === 'up' && !node.answers ? 'silent' : node.phase;
  const lacking = nodes
    .filter((other) => other.name !== node.name && other.phase === 'up' && other.answers)
    .flatMap((other) => other.status?.peers ?? [])
    .filter((peer) => peer.name === node.name)
    .reduce((most, peer) => Math.max(most, peer.lag_sessions), 0);
  const held = isAlive ? node.status?.sessions ?? 0 : 0;
  const down = node.phase === 'up' && node.answers
    ? (node.status?.peers ?? []).filter((peer) => !peer.reachable).map((peer) => peer.name)
    : node.phase === 'up' ? [] : nodes.map((other) => other.name);
  return {
    look, lacking, held, down: new Set(down),
    words: look === 'up' ? plural(held, 'session') : WORDS[look],
  };
}

function updatePicture() {
  Picture.update(state.views, state.choice);
}

let polling = false, lost = false;
async function poll() {
  if (polling) return;
  polling = true;
  try {
    const answer = await fetch(`/demo/state?after=${state.after}`);
    const fleet = await answer.json();
    state.startedAt = performance.now() - fleet.now_ms;
    const names = fleet.nodes.map((node) => node.name);
    if (names.join() !== state.names.join()) buildNodes(names);
    state.views = new Map(fleet.nodes.map((node) => [node.name, viewOf(node, fleet.nodes)]));
    for (const node of fleet.nodes) updateCard(node.name, node, state.views.get(node.name));
    updatePicture();
    for (const event of fleet.events) {
      state.after = Math.max(state.after, event.number);
      note(event.node, event.text, { atMs: event.at_ms });
    }
    lost = false;
  } catch {
    if (!lost) note('–', 'the demonstration does not answer: it has ended, or is started again elsewhere', { failed: true });
    lost = true;
  }
  polling = false;
}

// ---- start --------------------------------------------------------------------------------

function listen(id, whenDone = () => {}) {
  const form = byId(id);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const result = await ask(form.getAttribute('action'), Object.fromEntries(new FormData(form)));
    if (result.ok) whenDone(form);
  });
}

function buildThemes() {
  byId('themes').replaceChildren(...THEMES.map((theme) => {
    const button = element('button', { type: 'button' }, element('i', { className: theme }), theme);
    button.dataset.theme = theme;
    button.setAttribute('aria-pressed', 'false');
    button.addEventListener('click', () => ask('/shop/theme', { theme }));
    return button;
  }));
}

buildThemes();
listen('login', (form) => form.reset());
listen('logout');
listen('visit');
listen('add', (form) => { form.reset(); byId('item').focus(); });
byId('twenty').addEventListener('click', () => many(false));
byId('guests').addEventListener('click', () => many(true));
setInterval(poll, POLL_MS);

// The first look at the session, as soon as a node can serve it.
(async () => {
  for (;;) {
    await poll();
    if ([...state.views.values()].some(({ look }) => look === 'up')) break;
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
  ask('/shop/state');
})();
