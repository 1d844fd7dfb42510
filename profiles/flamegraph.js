// The script inside every flamegraph: zoom, search, and a layout that follows the window's width.
(function () {
  var root = document.currentScript ? document.currentScript.ownerSVGElement : document.documentElement;
  var frames = Array.prototype.slice.call(root.querySelectorAll('.frame'));
  var field = root.querySelector('input'), box = root.querySelector('foreignObject');
  var layout = { width: 1200, narrowest: 800, pad: 10, gap: 0.4, letter: 8.45 };  // in pixels
  layout.height = root.viewBox.baseVal.height;
  var width = layout.width, zoomed = [0, 1, 0], EDGE = 1e-6;

  function num(g, name) { return parseFloat(g.getAttribute('data-' + name)); }
  function details(g) { return g.querySelector('title').textContent; }
  function nameOf(g) { return details(g).replace(/: [^:]*$/, ''); }
  function say(id, words) { root.getElementById(id).textContent = words; }

  function fit(name, room) {
    if (name.length <= room) return name;
    return room < 3 ? '' : name.slice(0, room - 1) + '\u2026';
  }
  function label(g, pixels) { return fit(nameOf(g), Math.floor((pixels - 6) / layout.letter)); }

  function draw() {
    var zx = zoomed[0], zw = zoomed[1], zy = zoomed[2], inner = width - 2 * layout.pad;
    frames.forEach(function (g) {
      var x = num(g, 'x'), w = num(g, 'w'), y = num(g, 'y'), rect = g.querySelector('rect'), text = g.querySelector('text');
      var below = y < zy && x <= zx + EDGE && x + w >= zx + zw - EDGE;
      var shown = below || (y >= zy && x >= zx - EDGE && x + w <= zx + zw + EDGE);
      g.style.display = shown ? '' : 'none';
      g.classList.toggle('faded', below);
      if (!shown) return;
      var left = layout.pad + (below ? 0 : (x - zx) / zw) * inner;
      var pixels = Math.max(0.3, (below ? 1 : w / zw) * inner - layout.gap);
      rect.setAttribute('x', left); rect.setAttribute('width', pixels); text.setAttribute('x', left + 3);
      text.textContent = label(g, pixels);
    });
  }
  function zoom(x, w, y) { zoomed = [x, w, y]; draw(); }
  function zoomTo(g) { zoom(num(g, 'x'), num(g, 'w'), num(g, 'y')); }

  // As wide as the window; letters keep their size down to the narrowest width and grow beyond the widest.
  function follow() {
    var pixels = root.getBoundingClientRect().width;
    if (!pixels) return;
    width = Math.max(layout.narrowest, Math.min(layout.width, pixels));
    root.setAttribute('viewBox', '0 0 ' + width + ' ' + layout.height);
    if (root === document.documentElement) root.style.height = Math.ceil(layout.height * pixels / width) + 'px';
    draw();
  }

  function search(term) {
    var test; try { test = new RegExp(term, 'i'); } catch (error) { return; }
    var ends = [], found = 0;
    frames.slice().sort(function (a, b) { return num(a, 'y') - num(b, 'y'); }).forEach(function (g) {
      var hit = term !== '' && num(g, 'y') > 0 && test.test(nameOf(g));
      g.classList.toggle('found', hit);
      if (!hit) return;
      var x = num(g, 'x'), w = num(g, 'w');
      if (!ends.some(function (e) { return x >= e[0] - EDGE && x + w <= e[1] + EDGE; })) {
        ends.push([x, x + w]); found += w;
      }
    });
    say('matched', term ? 'matched: ' + (100 * found).toFixed(1) + ' %' : '');
  }
  function ask() { box.style.display = ''; field.focus(); field.select(); }
  function reset() {
    field.value = ''; field.blur(); box.style.display = 'none';
    search(''); zoom(0, 1, 0);
  }

  frames.forEach(function (g) {
    function tell() {
      var name = nameOf(g), numbers = details(g).slice(name.length);
      say('details', fit(name, Math.floor((width - 2 * layout.pad) / layout.letter) - numbers.length) + numbers);
    }
    g.addEventListener('click', function () { zoomTo(g); });
    g.addEventListener('mouseover', tell);
    g.addEventListener('focus', tell);
    g.addEventListener('keydown', function (event) {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      event.preventDefault(); zoomTo(g);
    });
  });
  [['reset', reset], ['search', ask]].forEach(function (button) {
    var g = root.getElementById(button[0]);
    g.addEventListener('click', button[1]);
    g.addEventListener('keydown', function (event) {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      event.preventDefault(); button[1]();
    });
  });
  field.addEventListener('input', function () { search(field.value); });
  field.addEventListener('keydown', function (event) { if (event.key === 'Enter') field.blur(); });
  window.addEventListener('keydown', function (event) {
    var find = (event.ctrlKey || event.metaKey) && event.key === 'f';
    if (find || (event.key === '/' && event.target !== field)) { event.preventDefault(); ask(); }
    if (event.key === 'Escape') reset();
  });
  window.addEventListener('resize', follow);
  follow(); follow();  // again, for the scroll bar that the new height may have brought
})();
