// What every bus promises. Run over each adapter by bus.test.ts; `near` and `far` are the buses of two processes.
import { describe, expect, it, vi } from 'vitest'
import type { Bus } from '../../src/bus/bus.ts'

export interface Note {
  text: string
  number: number
}

export interface BusPair extends AsyncDisposable {
  near: Bus<Note>
  far: Bus<Note>
  /** What both logged, a line each. */
  logged: string[]
}

export function describeBus(name: string, connect: (options?: { channels: number }) => Promise<BusPair>): void {
  describe(`the ${name} bus`, () => {
    it('hands over what is published after it attached, as it was', async () => {
      await using pair = await connect()
      const heard = await listen(pair.far, 'alice')
      const notes = [
        note('plain'),
        note('Grüße, 世界, 👩‍🚀, \u2028 "quoted" \\ and\nlines\r\n'),
        note(`lone ${String.fromCharCode(0xd83d)} and ${String.fromCharCode(0)}`),
        note('x'.repeat(200_000)),
        note(''),
      ]
      await pair.near.publish(notes.map((message) => ({ userId: 'alice', message })))
      await vi.waitFor(() => expect(heard).toEqual(notes))
    })

    it('is healthy once connected', async () => {
      await using pair = await connect()
      await vi.waitFor(() => expect(pair.near.status()).toEqual({ healthy: true }))
    })

    it.each([{ channels: 1 }, { channels: 64 }])(
      'reaches nobody but its user, with $channels channels',
      async (options) => {
        await using pair = await connect(options)
        const users = ['alice', 'bob', 'Alice', ' alice', 'ülice', '"]\n', '__proto__', '', 'u'.repeat(200)]
        const heard = await Promise.all(users.map((userId) => listen(pair.far, userId)))
        await pair.near.publish(users.map((userId) => ({ userId, message: note(`for ${userId}`) })))
        await pair.near.publish([{ userId: 'nobody', message: note('unheard') }])
        await pair.near.publish(users.map((userId) => ({ userId, message: note('last') })))
        await vi.waitFor(() => {
          expect(heard.map((notes) => notes.map(({ text }) => text))).toEqual(
            users.map((userId) => [`for ${userId}`, 'last']),
          )
        })
      },
    )

    it('keeps the order of each user, within a batch and between batches', async () => {
      await using pair = await connect({ channels: 3 })
      const users = ['alice', 'bob', 'carol', 'dave']
      const heard = await Promise.all(users.map((userId) => listen(pair.far, userId)))
      const published: Promise<void>[] = []
      for (let batch = 0; batch < 20; batch++) {
        const numbers = [0, 1, 2, 3, 4].map((index) => batch * 5 + index)
        const messages = numbers.flatMap((number) => users.map((userId) => ({ userId, message: note(userId, number) })))
        published.push(pair.near.publish(messages))
      }
      await Promise.all(published)
      const expected = Array.from({ length: 100 }, (_, index) => index)
      await vi.waitFor(() => {
        for (const notes of heard) expect(notes.map(({ number }) => number)).toEqual(expected)
      })
    })

    it('reaches each listener of a user once, in every process, the same function twice too', async () => {
      await using pair = await connect()
      const heard: string[] = []
      const onMessage = ({ text }: Note) => void heard.push(text)
      const listenings = [pair.near, pair.far, pair.far].map((bus) => bus.listen('alice', onMessage))
      expect(await Promise.all(listenings.map(({ attached }) => attached))).toEqual([true, true, true])
      await pair.near.publish([{ userId: 'alice', message: note('first') }])
      await vi.waitFor(() => expect(heard).toEqual(['first', 'first', 'first']))
      listenings[1]?.close()
      await pair.near.publish([{ userId: 'alice', message: note('second') }])
      await vi.waitFor(() => expect(heard).toHaveLength(5))
    })

    it('hands nothing to a listening that was closed, and leaves the others alone', async () => {
      await using pair = await connect({ channels: 1 })
      const closed: Note[] = []
      const listening = pair.far.listen('alice', (message) => closed.push(message))
      const heard = await listen(pair.far, 'alice')
      await listening.attached
      await pair.near.publish([{ userId: 'alice', message: note('first') }])
      await vi.waitFor(() => expect(heard).toHaveLength(1))
      listening.close()
      listening.close()
      await pair.near.publish([{ userId: 'alice', message: note('second') }])
      await vi.waitFor(() => expect(heard).toHaveLength(2))
      expect(closed).toEqual([note('first')])
    })

    it('hears again after the last listener left and one came back', async () => {
      await using pair = await connect({ channels: 1 })
      for (let round = 0; round < 50; round++) pair.far.listen('alice', () => {}).close()
      const heard = await listen(pair.far, 'alice')
      await pair.near.publish([{ userId: 'alice', message: note('still here') }])
      await vi.waitFor(() => expect(heard).toEqual([note('still here')]))
    })

    it('lets a listener close itself, and add another, while it is called', async () => {
      await using pair = await connect()
      const heard: string[] = []
      const listening = pair.far.listen('alice', ({ text }) => {
        heard.push(`once ${text}`)
        listening.close()
        pair.far.listen('bob', (message) => heard.push(`bob ${message.text}`))
      })
      await listening.attached
      const witness = await listen(pair.far, 'alice')
      await pair.near.publish([{ userId: 'alice', message: note('first') }])
      await pair.near.publish([{ userId: 'alice', message: note('second') }])
      await vi.waitFor(() => expect(witness).toHaveLength(2))
      expect(heard).toEqual(['once first'])
    })

    it('lets a listener that throws harm neither the publisher nor its neighbours, and logs it', async () => {
      await using pair = await connect({ channels: 1 })
      const before = await listen(pair.near, 'alice')
      const listening = pair.near.listen('alice', () => {
        throw new Error('a defect of the listener')
      })
      const after = await listen(pair.near, 'alice')
      const other = await listen(pair.near, 'bob')
      await listening.attached
      await pair.near.publish([
        { userId: 'alice', message: note('first') },
        { userId: 'bob', message: note('second') },
      ])
      await vi.waitFor(() => expect([before, after, other].map((notes) => notes.length)).toEqual([1, 1, 1]))
      expect(pair.logged.join('\n')).toContain('a defect of the listener')
    })

    it('runs no listener inside the call of publish', async () => {
      await using pair = await connect()
      const heard = await listen(pair.near, 'alice')
      const published = pair.near.publish([{ userId: 'alice', message: note('later') }])
      expect(heard).toEqual([])
      await published
      await vi.waitFor(() => expect(heard).toHaveLength(1))
    })

    it('takes an empty batch', async () => {
      await using pair = await connect()
      await pair.near.publish([])
    })

    it('hands over what was published before it closed', async () => {
      await using pair = await connect()
      const heard = await listen(pair.far, 'alice')
      const published = pair.near.publish([{ userId: 'alice', message: note('goodbye') }])
      await Promise.all([pair.near.close(), published])
      await vi.waitFor(() => expect(heard).toEqual([note('goodbye')]))
    })

    it('is silent and harmless after it closed', async () => {
      await using pair = await connect()
      const heard = await listen(pair.near, 'alice')
      await pair.near.close()
      await pair.near.close()
      await pair.near.publish([{ userId: 'alice', message: note('too late') }])
      const listening = pair.near.listen('alice', () => {})
      expect(await listening.attached).toBe(false)
      listening.close()
      expect(pair.near.status()).toEqual({ healthy: false, reason: 'closed' })
      expect(heard).toEqual([])
    })
  })
}

export function note(text: string, number = 0): Note {
  return { text, number }
}

/** What the user hears from now on; asserts that it is attached, and waits until the bus can publish too. */
export async function listen(bus: Bus<Note>, userId: string): Promise<Note[]> {
  const heard: Note[] = []
  const { attached } = bus.listen(userId, (message) => heard.push(message))
  expect(await attached).toBe(true)
  await vi.waitFor(() => expect(bus.status()).toEqual({ healthy: true }))
  return heard
}
