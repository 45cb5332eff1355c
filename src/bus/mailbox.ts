// What has arrived for one subscriber and is not consumed yet. Bounded: over its limit it throws everything away, for the
// log has it all, and the subscriber reads that when its socket drains. Memory for a slow reader is therefore bounded.

export interface MailboxLimits<Message> {
  messagesMax: number
  /** In whatever unit `weigh` measures. A single message may be heavier. */
  weightMax: number
  weigh(message: Message): number
}

export class Mailbox<Message> {
  readonly #limits: MailboxLimits<Message>
  #messages: Message[] = []
  #weight = 0

  constructor(limits: MailboxLimits<Message>) {
    this.#limits = limits
  }

  /** False where it was over the limit and is empty now. */
  push(message: Message): boolean {
    const { messagesMax, weightMax, weigh } = this.#limits
    const weight = weigh(message)
    if (this.#messages.length > 0 && (this.#messages.length >= messagesMax || this.#weight + weight > weightMax)) {
      this.clear()
      return false
    }
    this.#messages.push(message)
    this.#weight += weight
    return true
  }

  /**
   * Hands out the messages in order of arrival, again and again, until `consume` takes none of those that are left:
   * what came early may fit after what came late.
   */
  drain(consume: (message: Message) => boolean): void {
    const messages = this.#messages
    for (let before = -1; before !== messages.length && messages.length > 0; ) {
      before = messages.length
      let kept = 0
      for (const message of messages) if (!consume(message)) messages[kept++] = message
      messages.length = kept
    }
    if (messages === this.#messages)
      this.#weight = messages.reduce((sum, message) => sum + this.#limits.weigh(message), 0)
  }

  get isEmpty(): boolean {
    return this.#messages.length === 0
  }

  clear(): void {
    this.#messages = []
    this.#weight = 0
  }
}
