// Charts for the docs: bars, one below the other, as plain SVG. The colours are chosen for a white and for a dark page, as
// an image can't know on which it stands.

const width = 760
const nameWidth = 190
const valueWidth = 130
const barHeight = 20
const rowHeight = 28
const titleHeight = 44
const panelTitleHeight = 34
const panelGap = 14
const text = '#7a808a'
const own = '#2f81f7'
const other = '#9aa1ab'

/**
 * `panels`: each `{ title, unit, bars: [{ name, median, least, most }] }`, less being better unless `isMoreBetter`.
 * Bars whose name begins with Carillon stand out.
 */
export function drawChart({ title, note, panels }) {
  let top = titleHeight
  const parts = panels.map((panel) => {
    const drawn = drawPanel(panel, top)
    top += panelTitleHeight + panel.bars.length * rowHeight + panelGap
    return drawn
  })
  const height = top + 18
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" font-family="system-ui, sans-serif" font-size="13" fill="${text}">`,
    `<title>${escaped(title)}</title>`,
    `<text x="0" y="20" font-size="14.5" font-weight="600">${escaped(title)}</text>`,
    ...parts,
    `<text x="0" y="${height - 8}" font-size="11">${escaped(note)}</text>`,
    '</svg>\n',
  ].join('\n')
}

function drawPanel({ title, unit, bars, isMoreBetter = false }, top) {
  const longest = Math.max(...bars.map(({ most }) => most))
  const scale = (value) => (Math.max(value, 0) / longest) * (width - nameWidth - valueWidth)
  const better = isMoreBetter ? 'more is better' : 'less is better'
  const heading = `${title}${unit ? `, ${unit}` : ''} (${better})`
  const rows = bars.map((bar, index) => drawBar(bar, scale, top + panelTitleHeight + index * rowHeight))
  return [`<text x="0" y="${top + 16}" font-weight="600">${escaped(heading)}</text>`, ...rows].join('\n')
}

/** The bar ends at the median; the thin line goes from the least to the most. */
function drawBar({ name, median, least, most }, scale, top) {
  const middle = top + barHeight / 2
  const from = nameWidth + scale(least)
  const to = nameWidth + scale(most)
  const isOwn = name.startsWith('Carillon')
  const weight = isOwn ? ' font-weight="600"' : ''
  const parts = [
    `<text x="${nameWidth - 8}" y="${middle + 4}" text-anchor="end"${weight}>${escaped(name)}</text>`,
    `<rect x="${nameWidth}" y="${top}" width="${fixed(scale(median))}" height="${barHeight}" fill="${isOwn ? own : other}"/>`,
    `<text x="${fixed(to + 8)}" y="${middle + 4}"${weight}>${figure(median)}</text>`,
  ]
  if (most > least) {
    parts.push(
      `<path d="M${fixed(from)} ${middle}H${fixed(to)}M${fixed(from)} ${middle - 4}v8M${fixed(to)} ${middle - 4}v8" stroke="${text}" stroke-width="1.5"/>`,
    )
  }
  return parts.join('')
}

function figure(value) {
  if (value >= 100) return Math.round(value).toLocaleString('en')
  return value.toFixed(value >= 10 ? 1 : 2)
}

const fixed = (value) => value.toFixed(1)
const escaped = (value) => value.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
