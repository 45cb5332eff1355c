import { expect, test } from 'vitest'
import { bodyCharactersMax, titleCharactersMax, urlCharactersMax } from '../../src/content-flaw.mjs'
import { jsonDepthMax } from '../../src/graphql/scalars.ts'
import { localeCharactersMax } from '../../src/locale.ts'
import { idsMax } from '../../src/notifications/acknowledge.ts'
import { idempotencyHours } from '../../src/notifications/append.ts'
import { doorbellRowsMax } from '../../src/notifications/doorbell.ts'
import { filterCategoriesMax } from '../../src/notifications/history.ts'
import { markRowsMax } from '../../src/notifications/marks.ts'
import {
  batchItemsMax,
  categoryCharactersMax,
  dataBytesMax,
  idempotencyKeyCharactersMax,
} from '../../src/notifications/validate.ts'
import { pageSizeDefault, pageSizeMax } from '../../src/page.ts'
import { memoryMax, outputCharactersMax, renderMsMax } from '../../src/templates/liquid.mjs'
import { renderHangMsMax } from '../../src/templates/renderer.ts'
import { templatesMax, translationsBytesMax } from '../../src/templates/templates.ts'
import {
  bodySourceCharactersMax,
  keyCharactersMax,
  titleSourceCharactersMax,
  translationsMax,
  urlSourceCharactersMax,
} from '../../src/templates/validate.ts'
import { userIdCharactersMax } from '../../src/text.ts'
import {
  pathCharactersMax,
  pathPartsMax,
  segmentConditionsMax,
  segmentDepthMax,
  segmentLocalesMax,
  segmentUserIdsMax,
  segmentValuesMax,
  valueCharactersMax,
} from '../../src/users/segment.ts'
import { attributesBytesMax, nameCharactersMax, upsertedUsersMax } from '../../src/users/validate.ts'
import { readDocument, tableUnder } from './markdown.ts'

const protocol = readDocument('docs/PROTOCOL.md')

test('the protocol has the limits on input that the code has', () => {
  const documented = tableUnder(protocol, '### Limits on input').map(([input, limit = '']) => [input, numbersIn(limit)])
  expect(Object.fromEntries(documented)).toEqual({
    userId: [1, userIdCharactersMax],
    // The last are the digits that a category may have.
    category: [1, categoryCharactersMax, 0, 9],
    title: [1, titleCharactersMax],
    body: [bodyCharactersMax],
    url: [1, urlCharactersMax],
    data: [dataBytesMax, jsonDepthMax],
    idempotencyKey: [1, idempotencyKeyCharactersMax],
    inputs: [batchItemsMax],
    ids: [idsMax],
    'first, last': [1, pageSizeMax, pageSizeDefault],
    'filter.categories': [filterCategoriesMax],
  })
})

test('the protocol has the limits on users and segments that the code has', () => {
  const documented = tableUnder(protocol, '### Limits on users and segments').map(([input, limit = '']) => [
    input,
    numbersIn(limit.replace('BCP 47', '')),
  ])
  expect(Object.fromEntries(documented)).toEqual({
    users: [upsertedUsersMax],
    name: [1, nameCharactersMax],
    'locale, locales': [localeCharactersMax, segmentLocalesMax],
    attributes: [attributesBytesMax],
    userIds: [1, segmentUserIdsMax],
    path: [1, pathCharactersMax, pathPartsMax],
    values: [segmentValuesMax, valueCharactersMax],
    'a segment': [segmentConditionsMax, segmentDepthMax],
  })
})

test('the protocol has the limits on templates that the code has', () => {
  const documented = tableUnder(protocol, '### Limits on templates').map(([input, limit = '']) => [
    input,
    numbersIn(limit),
  ])
  expect(Object.fromEntries(documented)).toEqual({
    // The last are the digits that a key may have.
    key: [1, keyCharactersMax, 0, 9],
    translations: [1, translationsMax],
    title: [1, titleSourceCharactersMax],
    body: [bodySourceCharactersMax],
    url: [1, urlSourceCharactersMax],
    'all templates': [templatesMax, translationsBytesMax],
    'time for one text': [renderMsMax, renderHangMsMax],
    'memory for one text': [memoryMax],
    'output of one text': [outputCharactersMax],
  })
})

test.each([
  ['`markDelivered(ids:)`, up to # at once', idsMax],
  ['`sendNotifications` takes up to #;', batchItemsMax],
  ['sending again within # hours', idempotencyHours],
  ['the new states, # at most', doorbellRowsMax],
  ['more than # rows take several commits', markRowsMax],
])('the protocol says %s: %i', (sentence, number) => {
  expect(protocol).toContain(sentence.replace('#', number.toLocaleString('en')))
})

function numbersIn(text: string): number[] {
  return [...text.matchAll(/\d[\d,]*/g)].map(([number]) => Number(number.replaceAll(',', '')))
}
