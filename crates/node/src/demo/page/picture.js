'use strict';
// The picture: nodes in a circle, the visitor in the middle, and what moves between them.

const Picture = (() => {
  const CENTER = { x: 0, y: 0 }, WIDE = 206, HIGH = 182;
  const DOTS_MAX = 120;
  const GOLDEN_ANGLE = Math.PI * (3 - Math.sqrt(5));
  const calm = matchMedia('(prefers-reduced-motion: reduce)');
  const svg = document.getElementById('picture');
  const nodes = new Map();   // name → { x, y, group, halo, dots, count, badge, links }
  let radius = 60;
  let ways = new Map();      // name → line between the visitor and the node
  let moving = svg;          // what is on its way, below the nodes

  function make(tag, attributes, parent) {
    const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    parent.append(element);
    return element;
  }

  function place(index, total) {
    // Two stand above the visitor, so that the link between them is seen.
    const angle = total === 2 ? Math.PI * (4 * index - 5) / 6 : Math.PI * (2 * index / total - .5);
    return { x: WIDE * Math.cos(angle), y: HIGH * Math.sin(angle) };
  }

  // As large as what is in it, halos and words included, and the visitor always inside.
  function frame(places) {
    const [xs, ys] = [[0, ...places.map(({ x }) => x)], [0, ...places.map(({ y }) => y)]];
    const [side, above, below] = [radius + 44, radius + 18, radius + 42];
    const [left, top] = [Math.min(...xs) - side, Math.min(...ys) - above];
    const [width, height] = [Math.max(...xs) + side - left, Math.max(...ys) + below - top];
    svg.setAttribute('viewBox', `${left} ${top} ${width} ${height}`);
  }

  // Builds everything once; `update` changes it.
  function build(names) {
    svg.replaceChildren();
    nodes.clear();
    radius = names.length <= 4 ? 60 : names.length <= 6 ? 50 : 38;
    svg.classList.toggle('crowded', names.length > 6);
    const places = names.map((_, index) => place(index, names.length));
    frame(places);
    const links = make('g', {}, svg), waysGroup = make('g', {}, svg);
    moving = make('g', {}, svg);
    const linkOf = new Map();
    names.forEach((one, i) => names.slice(i + 1).forEach((other, j) => {
      const [a, b] = [places[i], places[i + 1 + j]];
      const line = make('line', { class: 'link', x1: a.x, y1: a.y, x2: b.x, y2: b.y }, links);
      linkOf.set(`${one} ${other}`, line);
      linkOf.set(`${other} ${one}`, line);
    }));
    ways = new Map(names.map((name, i) => [name, make('line',
      { class: 'way', x1: CENTER.x, y1: CENTER.y, x2: places[i].x, y2: places[i].y }, waysGroup)]));
    names.forEach((name, i) => nodes.set(name, buildNode(name, places[i])));
    nodes.forEach((node, name) => { node.links = (other) => linkOf.get(`${name} ${other}`); });
    buildVisitor();
  }

  function buildNode(name, { x, y }) {
    const group = make('g', { class: 'node', transform: `translate(${x} ${y})` }, svg);
    const halo = make('circle', { class: 'halo', r: radius + 14 }, group);
    make('circle', { class: 'body', r: radius }, group);
    const dots = make('g', {}, group);
    make('text', { class: 'name' }, group).textContent = name;
    const count = make('text', { class: 'count', y: radius + 29 }, group);
    const badge = make('g', { class: 'badge', transform: `translate(${radius * .8} ${-radius * .85})` }, group);
    make('rect', { x: -42, y: -13, width: 84, height: 26, rx: 13 }, badge);
    const badgeText = make('text', {}, badge);
    return { x, y, group, halo, dots, count, badgeText, shown: '' };
  }

  function buildVisitor() {
    const you = make('g', { class: 'you', transform: `translate(${CENTER.x} ${CENTER.y})` }, svg);
    make('rect', { x: -36, y: -27, width: 72, height: 54, rx: 8 }, you);
    make('line', { x1: -36, y1: -12, x2: 36, y2: -12 }, you);
    for (const x of [-27, -18, -9]) make('circle', { cx: x, cy: -19.5, r: 2.6 }, you);
    make('text', { y: 8 }, you).textContent = 'you';
  }

  // One dot for each session, hollow for one that the node lacks; in a spiral around the name.
  function drawDots(node, held, lacking) {
    const key = `${held} ${lacking}`;
    if (node.shown === key) return;
    node.shown = key;
    node.dots.replaceChildren();
    const total = Math.min(held + lacking, DOTS_MAX);
    const hollow = Math.min(lacking, total);
    const inner = 22, outer = radius - 7;
    const step = (outer * outer - inner * inner) / Math.max(total, 36);
    for (let index = 0; index < total; index++) {
      const distance = Math.sqrt(inner * inner + step * (index + .5));
      const angle = index * GOLDEN_ANGLE;
      make('circle', {
        class: index >= total - hollow ? 'session lacking' : 'session',
        cx: distance * Math.cos(angle), cy: distance * Math.sin(angle),
        r: total > 60 ? 2.3 : 3.2,
      }, node.dots);
    }
  }

  // `views`: name → { look, words, held, lacking, down: names of peers it has no link to }.
  function update(views, chosen) {
    for (const [name, view] of views) {
      const node = nodes.get(name);
      if (!node) continue;
      node.group.setAttribute('class', `node ${view.look}${view.lacking > 0 ? ' behind' : ''}`);
      node.count.textContent = view.words;
      node.badgeText.textContent = `${view.lacking} behind`;
      drawDots(node, view.held, view.lacking);
      ways.get(name).setAttribute('class', name === chosen ? 'way chosen' : 'way');
    }
    for (const [name, node] of nodes) {
      for (const other of nodes.keys()) {
        if (name >= other) continue;
        const isDown = views.get(name)?.down.has(other) || views.get(other)?.down.has(name);
        node.links(other).setAttribute('class', isDown ? 'link down' : 'link');
      }
    }
  }

  function travel(kind, from, to, duration, size) {
    if (calm.matches) return Promise.resolve();
    const dot = make('circle', { class: kind, r: size }, moving);
    const at = ({ x, y }) => ({ transform: `translate(${x}px, ${y}px)` });
    const move = dot.animate([at(from), at(to)], { duration, easing: 'ease-in-out', fill: 'both' });
    return move.finished.finally(() => dot.remove());
  }

  // A node that is about to answer, or has: the halo, and on a write its copies to the others.
  async function served(name, isWrite, views) {
    const node = nodes.get(name);
    if (!node) return;
    await travel('request', CENTER, node, 260, 8);
    node.halo.animate([{ opacity: .55 }, { opacity: 0 }], { duration: 900, easing: 'ease-out' });
    travel('request', node, CENTER, 320, 6);
    if (!isWrite) return;
    for (const [other, { x, y }] of nodes) {
      const isReached = other !== name && views.get(other)?.look === 'up';
      if (isReached) travel('copy', node, { x, y }, 420, 5);
    }
  }

  return { build, update, served };
})();
