// What must hold beside the peers, and where we want to be. Each is the ratio of two figures of one round, since what else
// the machine does changes from round to round; or one figure alone.
import { cell, shortest, spread } from './report.mjs'

/** `of` and `to`: a server's figure of a workload. Without `to` the figure itself. `atLeast` where more is better. */
const goals = [
  ...['Carillon through Redis', 'Carillon', 'Carillon in process'].map((server) => ({
    what: `A: CPU of a delivery, ${server}, to bare ws`,
    of: ['A', server, 'CPU µs'],
    to: ['A', 'bare ws', 'CPU µs'],
    goal: server === 'Carillon through Redis' ? 2.2 : 1.8,
  })),
  ...['ws + Redis', 'Socket.IO', 'Mercurius', 'Apollo', 'stock', 'nginx + nchan'].map((peer) => ({
    what: `A: CPU of a delivery, Carillon through Redis, to ${peer}`,
    of: ['A', 'Carillon through Redis', 'CPU µs'],
    to: ['A', peer, 'CPU µs'],
    // nginx is no peer that has to be beaten: it has no users, no tokens and no GraphQL.
    must: peer === 'nginx + nchan' ? undefined : 1,
  })),
  ...['Carillon through Redis', 'Carillon', 'Carillon in process'].map((server) => ({
    what: `B: CPU of a delivery, ${server}, to bare ws`,
    of: ['B', server, 'CPU µs'],
    to: ['B', 'bare ws', 'CPU µs'],
    // From the doorbell to the frame; the others have its way through Redis in it too.
    must: server === 'Carillon in process' ? 2.5 : undefined,
    goal: 1.5,
  })),
  ...['5,000', '10,000', '19,000'].map((users) => ({
    what: `C: memory of a connection, of ${users}, to stock`,
    of: ['C', 'Carillon', `KB each at ${users}`],
    to: ['C', 'stock', `KB each at ${users}`],
    must: 0.7,
    goal: 0.5,
  })),
  ...['CPU µs to connect', 'CPU µs to connect, 10,000 to 19,000'].map((figure) => ({
    what: `C: ${figure}, to stock`,
    of: ['C', 'Carillon', figure],
    to: ['C', 'stock', figure],
    must: 0.6,
    goal: 0.4,
  })),
  {
    what: 'C: CPU to connect, bare ws to stock: it neither subscribes nor reads a log',
    of: ['C', 'bare ws', 'CPU µs to connect'],
    to: ['C', 'stock', 'CPU µs to connect'],
  },
  ...sends('D over HTTP', 'D', { times: [4, 6], share: [1 / 4, 1 / 6] }),
  {
    what: 'D over HTTP: sends a second, to Mercurius',
    of: ['D', 'Carillon', 'a second'],
    to: ['D', 'Mercurius', 'a second'],
    atLeast: true,
    must: 1,
    goal: 3,
  },
  ...sends('D over graphql-ws', 'D-ws', { times: [5], share: [1 / 5] }),
  ...sends("D over graphql-ws, to stock's sends over HTTP", 'D-ws', { times: [], share: [] }, 'D'),
  ...sends("D, batches of 100 to stock's single sends", 'D-batch', { times: [5, 10], share: [1 / 5, 1 / 10] }, 'D'),
  ...[
    ['500 × 20', 0.6, 0.4],
    ['1 × 1,000', 0.5, 0.3],
  ].flatMap(([who, must, goal]) =>
    ['CPU ms', 'last has all ms'].map((figure) => ({
      what: `E: ${who}, ${figure}, to stock`,
      of: ['E', 'Carillon', `${who} ${figure}`],
      to: ['E', 'stock', `${who} ${figure}`],
      must,
      goal,
    })),
  ),
  ...['newest', 'deep'].map((page) => ({
    what: `F: buffers of the ${page} page, 20,000,000 rows to 200,000`,
    of: ['F', 'Carillon', `${page} buffers at 20,000,000`],
    to: ['F', 'Carillon', `${page} buffers at 200,000`],
    must: 1.3,
    goal: 1.3,
  })),
  { what: 'G: idle, % of a core', of: ['G', 'Carillon', 'server %'], must: 8, goal: 4 },
]

function sends(what, workload, { times, share }, ofStock = workload) {
  const ratio = (figure) => ({ of: [workload, 'Carillon', figure], to: [ofStock, 'stock', figure] })
  return [
    { what: `${what}: sends a second, to stock`, ...ratio('a second'), atLeast: true, must: times[0], goal: times[1] },
    { what: `${what}: CPU of a send, to stock`, ...ratio('CPU µs'), must: share[0], goal: share[1] },
  ]
}

/** Those that can be told from these runs: each with the spread of the ratio and of the figures that it is of. */
export function judge(runs) {
  return goals.flatMap((goal) => {
    const rounds = [...new Set(runs.map(({ round }) => round))]
    const pairs = rounds.flatMap((round) => {
      const of = figureOf(runs, round, goal.of)
      const to = goal.to ? figureOf(runs, round, goal.to) : 1
      return of === undefined || to === undefined ? [] : [{ of, to }]
    })
    if (pairs.length === 0) return []
    return {
      ...goal,
      measured: spread(pairs.map(({ of, to }) => of / to)),
      absolute: spread(pairs.map(({ of }) => of)),
      ...(goal.to && { beside: spread(pairs.map(({ to }) => to)) }),
    }
  })
}

/** One line a ratio. */
export function lineOf({ what, measured }) {
  return `${what}: ${cell(measured, ratio)}`
}

export function printGoals(judged) {
  if (judged.length === 0) return
  console.log('\nGoals: the median of the ratio within each round, with the least and the most\n')
  console.log('| | must | goal | measured | | figures |\n| --- | --: | --: | --: | --- | --: |')
  for (const one of judged) {
    const figures = one.beside ? `${shortest(one.absolute.median)} to ${shortest(one.beside.median)}` : ''
    console.log(
      `| ${one.what} | ${bound(one, one.must)} | ${bound(one, one.goal)} | ${cell(one.measured, ratio)} | ${verdictOf(one)} | ${figures} |`,
    )
  }
}

function figureOf(runs, round, [workload, server, figure]) {
  return runs.find((run) => run.round === round && run.workload === workload && run.server === server)?.figures[figure]
}

function verdictOf({ measured: { median }, atLeast, must, goal }) {
  const holds = (limit) => limit !== undefined && (atLeast ? median >= limit : median <= limit)
  if (must !== undefined && !holds(must)) return 'missed'
  if (holds(goal)) return 'goal'
  return must === undefined ? '' : 'holds'
}

function bound({ atLeast }, limit) {
  return limit === undefined ? '' : `${atLeast ? '≥' : '≤'} ${ratio(limit)}`
}

const ratio = (value) => (value >= 10 ? value.toFixed(1) : value.toFixed(2))
