// What is looked at in a page; evaluated there by test_report_page.py.
var overlaps = () => {
  const seen = [...document.querySelectorAll('h1,h2,h3,.lead,.tile,.chart,.table,footer,nav')]
    .map(e => [e, e.getBoundingClientRect()]).filter(([e, r]) => r.width && r.height);
  const found = [];
  for (const [a, p] of seen) for (const [b, q] of seen)
    if (a !== b && !a.contains(b) && !b.contains(a) && p.left < q.right - 1 && q.left < p.right - 1
        && p.top < q.bottom - 1 && q.top < p.bottom - 1) found.push(a.textContent.slice(0, 40) + ' / ' + b.textContent.slice(0, 40));
  for (const [e, r] of seen) if (r.left < 0 || r.right > innerWidth + 1) found.push('beyond the edge: ' + e.textContent.slice(0, 40));
  for (const svg of document.querySelectorAll('svg')) {
    const frame = svg.closest('.chart').getBoundingClientRect();
    for (const text of svg.querySelectorAll('text')) {
      const r = text.getBoundingClientRect();
      if (r.width && (r.left < frame.left || r.right > frame.right)) found.push('out of its chart: ' + text.textContent);
    }
  }
  for (const svg of document.querySelectorAll('svg')) for (const axis of svg.querySelectorAll('.role-axis-label')) {
    const labels = [...axis.querySelectorAll('text')].filter(t => t.textContent && getComputedStyle(t).opacity > 0 && t.getAttribute('opacity') !== '0')
      .map(t => [t.textContent, t.getBoundingClientRect()]).filter(([, r]) => r.width);
    for (let i = 1; i < labels.length; i++) { const [a, p] = labels[i - 1], [b, q] = labels[i];
      if (p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 2 && q.top < p.bottom - 2) found.push('labels: ' + a + ' / ' + b); }
  }
  return found;
};

var chartsSeen = () => [...document.querySelectorAll('.chart')].map(c => {
  const svg = [...c.querySelectorAll('svg')].find(s => s.getBoundingClientRect().width);
  const marks = svg ? [...svg.querySelectorAll('.mark-rect.role-mark path, .mark-line.role-mark path, .mark-symbol.role-mark path')]
    .filter(m => { const r = m.getBoundingClientRect(); return r.width > 0 && r.height > 0; }).length : 0;
  return [c.dataset.chart, marks];
});

var contrast = () => {
  const light = c => { const [r, g, b] = c.match(/[\d.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const back = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (!/, 0\)$/.test(c)) return c; } return 'rgb(255,255,255)'; };
  const found = [];
  for (const e of document.querySelectorAll('h1,h2,h3,p,dt,dd,td,th,small,li,a,figcaption,svg .role-axis-label text,svg .role-legend-label text')) {
    if (!e.textContent.trim() || !e.getBoundingClientRect().width) continue;
    const own = e instanceof SVGElement ? getComputedStyle(e).fill : getComputedStyle(e).color;
    const [a, b] = [light(own), light(back(e.closest('div,td,section,body')))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) found.push(e.textContent.slice(0, 30) + ' ' + own);
  }
  return found;
};
