import type { AttributeValue } from '../users/segment.ts';
import type { JsonObject } from '../json.ts';
import type { GraphQLResolveInfo, GraphQLScalarType, GraphQLScalarTypeConfig } from 'graphql';
import type { AnyNode } from './node.ts';
import type { Notification as NotificationRow, InboxState } from '../notifications/notification.ts';
import type { Template as StoredTemplate, Translation as StoredTranslation } from '../templates/template.ts';
import type { User as DirectoryUser } from '../users/user.ts';
import type { Broadcast as BroadcastState } from '../broadcasts/broadcast.ts';
import type { NotificationReceived as NotificationReceivedEvent, NotificationsUpdated as NotificationsUpdatedEvent, NotificationsRemoved as NotificationsRemovedEvent, CaughtUp as CaughtUpEvent } from '../notifications/events.ts';
import type { Context } from './context.ts';
export type Maybe<T> = T | null;
export type InputMaybe<T> = T | null | undefined;
export type Omit<T, K extends keyof T> = Pick<T, Exclude<keyof T, K>>;
export type RequireFields<T, K extends keyof T> = Omit<T, K> & { [P in K]-?: NonNullable<T[P]> };
/** All built-in and custom scalars, mapped to their actual values */
export type Scalars = {
  ID: { input: string; output: string; }
  String: { input: string; output: string; }
  Boolean: { input: boolean; output: boolean; }
  Int: { input: number; output: number; }
  Float: { input: number; output: number; }
  /** A string, number or boolean. */
  AttributeValue: { input: AttributeValue; output: AttributeValue; }
  /** An instant: RFC 3339, UTC, millisecond precision, such as `2026-01-31T09:30:00.000Z`. */
  DateTime: { input: number; output: number; }
  /** Any JSON object. */
  JSONObject: { input: JsonObject; output: JsonObject; }
};

/** A condition on one attribute; `path` is dotted, such as `plan.tier`. */
export type AttributeConditionInput = {
  op: AttributeOperator;
  path: Scalars['String']['input'];
  /** The operand, or for IN the operands; none for EXISTS. */
  values?: InputMaybe<Array<Scalars['AttributeValue']['input']>>;
};

/** CONTAINS: the attribute is an array that holds the value. */
export type AttributeOperator =
  | 'CONTAINS'
  | 'EQ'
  | 'EXISTS'
  | 'GT'
  | 'GTE'
  | 'IN'
  | 'LT'
  | 'LTE'
  | 'NE';

export type Broadcast = Node & {
  __typename?: 'Broadcast';
  category: Scalars['String']['output'];
  createdAt: Scalars['DateTime']['output'];
  /** Why it failed, for an operator. */
  error: Maybe<Scalars['String']['output']>;
  /** Users whom the template could not be rendered for; `error` tells of one of them. */
  failed: Scalars['Int']['output'];
  finishedAt: Maybe<Scalars['DateTime']['output']>;
  id: Scalars['ID']['output'];
  priority: Priority;
  /** 0 to 1. */
  progress: Scalars['Float']['output'];
  sent: Scalars['Int']['output'];
  /** Left out by a rate limit. */
  skipped: Scalars['Int']['output'];
  startedAt: Maybe<Scalars['DateTime']['output']>;
  status: BroadcastStatus;
  /** Users in the segment: an estimate while it runs, `sent + failed + skipped` at the end. */
  total: Scalars['Int']['output'];
};

export type BroadcastConnection = {
  __typename?: 'BroadcastConnection';
  edges: Array<BroadcastEdge>;
  nodes: Array<Broadcast>;
  pageInfo: PageInfo;
};

export type BroadcastEdge = {
  __typename?: 'BroadcastEdge';
  cursor: Scalars['String']['output'];
  node: Broadcast;
};

/** Exactly one of `content` and `template` is set. */
export type BroadcastNotificationInput = {
  category: Scalars['String']['input'];
  content?: InputMaybe<ContentInput>;
  data?: InputMaybe<Scalars['JSONObject']['input']>;
  /** A broadcast that has not reached everybody by then fails; what was sent stays sent. */
  expiresAt?: InputMaybe<Scalars['DateTime']['input']>;
  /** As of `sendNotification`: sending again with the same key within 24 hours returns the first broadcast. */
  idempotencyKey?: InputMaybe<Scalars['String']['input']>;
  priority: Priority;
  segment: SegmentInput;
  template?: InputMaybe<TemplateContentInput>;
};

export type BroadcastStatus =
  | 'CANCELLED'
  | 'COMPLETED'
  | 'FAILED'
  | 'QUEUED'
  | 'RUNNING';

/**
 * What came before was replay, what follows is live. `stateChanged`: states of earlier notifications changed meanwhile
 * (or more than 100 at once, or an update was lost on the way): fetch `history` again.
 */
export type CaughtUp = InboxEvent & {
  __typename?: 'CaughtUp';
  cursor: Scalars['String']['output'];
  inbox: Inbox;
  stateChanged: Scalars['Boolean']['output'];
};

export type ContentInput = {
  body?: InputMaybe<Scalars['String']['input']>;
  title: Scalars['String']['input'];
  url?: InputMaybe<Scalars['String']['input']>;
};

/** The counters behind a badge. They change in the same transaction as the rows; expiry and retention follow within 10 seconds. Archived ones count nowhere. */
export type Inbox = Node & {
  __typename?: 'Inbox';
  /** Cursor of the newest notification; valid, and before the first one, while there is none. */
  headCursor: Scalars['String']['output'];
  /** `inbox:` and the user's id. */
  id: Scalars['ID']['output'];
  undeliveredCount: Scalars['Int']['output'];
  unreadCount: Scalars['Int']['output'];
  unseenCount: Scalars['Int']['output'];
  userId: Scalars['ID']['output'];
};

/** What changed in the user's inbox, on any device. Each carries the counters and the cursor to resume after. */
export type InboxEvent = {
  cursor: Scalars['String']['output'];
  inbox: Inbox;
};

export type MarkNotificationsPayload = {
  __typename?: 'MarkNotificationsPayload';
  /** How many this call changed; calling again with the same arguments changes none. */
  count: Scalars['Int']['output'];
  inbox: Inbox;
  /** Those it changed, newest first, 100 at most. */
  notifications: Array<Notification>;
};

export type Mutation = {
  __typename?: 'Mutation';
  /** Archived implies read. */
  archiveNotifications: MarkNotificationsPayload;
  /** Queued durably and carried on where it stopped if a server dies; the template as it is now. Scope: `broadcasts:write`. */
  broadcastNotification: Broadcast;
  /** Stops sending; what was sent stays sent. */
  cancelBroadcast: Broadcast;
  deleteTemplate: Scalars['Boolean']['output'];
  /** Takes them out of the directory, with their devices; their logs stay for the retention time. Scope: `users:write`. */
  deleteUsers: Scalars['Int']['output'];
  /**
   * Acknowledges by id, or everything up to a cursor; exactly one of the two. `after`, only with `upTo`, leaves alone
   * what lies at or before it: a device acknowledges just the stretch that it saw. Idempotent; the first time stands.
   * Ids that are unknown or somebody else's are ignored and not counted.
   */
  markDelivered: MarkNotificationsPayload;
  /** Read implies seen. */
  markRead: MarkNotificationsPayload;
  /** Seen implies delivered. */
  markSeen: MarkNotificationsPayload;
  /** Stays seen and delivered. */
  markUnread: MarkNotificationsPayload;
  /** Takes a notification back: no longer delivered, listed or pushed. False where there is none. Scope: `notifications:send`. */
  retractNotification: Scalars['Boolean']['output'];
  /** Accepted means committed to the database. Scope: `notifications:send`. */
  sendNotification: SendNotificationPayload;
  /** Up to 1,000 at once; each succeeds or fails on its own, in order. Scope: `notifications:send`. */
  sendNotifications: Array<SendNotificationResult>;
  unarchiveNotifications: MarkNotificationsPayload;
  /** Scope: `templates:write`. */
  upsertTemplate: Template;
  /** Up to 1,000 at once; what is left out stays, null clears, attributes are replaced whole. Scope: `users:write`. */
  upsertUsers: Scalars['Int']['output'];
};


export type MutationArchiveNotificationsArgs = {
  after: InputMaybe<Scalars['String']['input']>;
  ids: InputMaybe<Array<Scalars['ID']['input']>>;
  upTo: InputMaybe<Scalars['String']['input']>;
};


export type MutationBroadcastNotificationArgs = {
  input: BroadcastNotificationInput;
};


export type MutationCancelBroadcastArgs = {
  id: Scalars['ID']['input'];
};


export type MutationDeleteTemplateArgs = {
  key: Scalars['String']['input'];
};


export type MutationDeleteUsersArgs = {
  ids: Array<Scalars['ID']['input']>;
};


export type MutationMarkDeliveredArgs = {
  after: InputMaybe<Scalars['String']['input']>;
  ids: InputMaybe<Array<Scalars['ID']['input']>>;
  upTo: InputMaybe<Scalars['String']['input']>;
};


export type MutationMarkReadArgs = {
  after: InputMaybe<Scalars['String']['input']>;
  ids: InputMaybe<Array<Scalars['ID']['input']>>;
  upTo: InputMaybe<Scalars['String']['input']>;
};


export type MutationMarkSeenArgs = {
  after: InputMaybe<Scalars['String']['input']>;
  ids: InputMaybe<Array<Scalars['ID']['input']>>;
  upTo: InputMaybe<Scalars['String']['input']>;
};


export type MutationMarkUnreadArgs = {
  ids: Array<Scalars['ID']['input']>;
};


export type MutationRetractNotificationArgs = {
  id: Scalars['ID']['input'];
};


export type MutationSendNotificationArgs = {
  input: SendNotificationInput;
};


export type MutationSendNotificationsArgs = {
  inputs: Array<SendNotificationInput>;
};


export type MutationUnarchiveNotificationsArgs = {
  ids: Array<Scalars['ID']['input']>;
};


export type MutationUpsertTemplateArgs = {
  input: TemplateInput;
};


export type MutationUpsertUsersArgs = {
  users: Array<UserInput>;
};

export type Node = {
  /** Globally unique and stable, so that a client's normalized cache can key on it. */
  id: Scalars['ID']['output'];
};

/** One message to one user. */
export type Notification = Node & {
  __typename?: 'Notification';
  archivedAt: Maybe<Scalars['DateTime']['output']>;
  body: Maybe<Scalars['String']['output']>;
  /** What it is about, in the sender's own words, such as `order.shipped`. */
  category: Scalars['String']['output'];
  createdAt: Scalars['DateTime']['output'];
  /** Opaque. Resume a subscription after it, acknowledge up to it, or page from it. */
  cursor: Scalars['String']['output'];
  /** Whatever the sender attached: deep-equal to what JSON.parse makes of it, key order kept. Integers beyond 2^53 belong in strings. */
  data: Maybe<Scalars['JSONObject']['output']>;
  /** The first acknowledgement, from whichever device it came. */
  deliveredAt: Maybe<Scalars['DateTime']['output']>;
  /** No longer delivered, pushed or listed from then on. */
  expiresAt: Maybe<Scalars['DateTime']['output']>;
  /** A UUIDv7. */
  id: Scalars['ID']['output'];
  priority: Priority;
  readAt: Maybe<Scalars['DateTime']['output']>;
  seenAt: Maybe<Scalars['DateTime']['output']>;
  /** Position in this user's log: 1, 2, 3, … no number is ever skipped or used twice. */
  seq: Scalars['Int']['output'];
  title: Scalars['String']['output'];
  /** Where a click leads. */
  url: Maybe<Scalars['String']['output']>;
  userId: Scalars['ID']['output'];
};

/** Newest first, as the Relay connection spec has it. */
export type NotificationConnection = {
  __typename?: 'NotificationConnection';
  edges: Array<NotificationEdge>;
  nodes: Array<Notification>;
  pageInfo: PageInfo;
};

export type NotificationEdge = {
  __typename?: 'NotificationEdge';
  cursor: Scalars['String']['output'];
  node: Notification;
};

export type NotificationFilter = {
  /** Left out or false: only those not archived. True: only archived ones. Null: both. */
  archived?: InputMaybe<Scalars['Boolean']['input']>;
  categories?: InputMaybe<Array<Scalars['String']['input']>>;
  /** Inclusive. */
  createdAfter?: InputMaybe<Scalars['DateTime']['input']>;
  /** Exclusive. */
  createdBefore?: InputMaybe<Scalars['DateTime']['input']>;
  delivered?: InputMaybe<Scalars['Boolean']['input']>;
  priorities?: InputMaybe<Array<Priority>>;
  read?: InputMaybe<Scalars['Boolean']['input']>;
  seen?: InputMaybe<Scalars['Boolean']['input']>;
};

export type NotificationReceived = InboxEvent & {
  __typename?: 'NotificationReceived';
  cursor: Scalars['String']['output'];
  inbox: Inbox;
  notification: Notification;
};

/** Retracted: forget them. */
export type NotificationsRemoved = InboxEvent & {
  __typename?: 'NotificationsRemoved';
  cursor: Scalars['String']['output'];
  ids: Array<Scalars['ID']['output']>;
  inbox: Inbox;
};

/** Marked, unmarked, archived: the new states, 100 at most. */
export type NotificationsUpdated = InboxEvent & {
  __typename?: 'NotificationsUpdated';
  cursor: Scalars['String']['output'];
  inbox: Inbox;
  notifications: Array<Notification>;
};

export type PageInfo = {
  __typename?: 'PageInfo';
  endCursor: Maybe<Scalars['String']['output']>;
  hasNextPage: Scalars['Boolean']['output'];
  hasPreviousPage: Scalars['Boolean']['output'];
  startCursor: Maybe<Scalars['String']['output']>;
};

/** How urgent a notification is. `CRITICAL` is exempt from the per-user rate limit and is pushed first. */
export type Priority =
  | 'CRITICAL'
  | 'HIGH'
  | 'LOW'
  | 'NORMAL';

export type Query = {
  __typename?: 'Query';
  /** Scope: `broadcasts:read`. */
  broadcast: Maybe<Broadcast>;
  /** Newest first. */
  broadcasts: BroadcastConnection;
  /**
   * The caller's notifications, newest first, for the retention time (30 days).
   * A service with the scope `inbox:any` names the user.
   */
  history: NotificationConnection;
  inbox: Inbox;
  /** The object with this id, where the caller may see it; null for any other id. */
  node: Maybe<Node>;
  /** How many a segment holds and ten of them, before anything is sent. Scope: `broadcasts:write`. */
  previewSegment: SegmentPreview;
  /** Scope: `templates:write`. */
  template: Maybe<Template>;
  templates: Array<Template>;
  /** Scope: `users:read`. */
  user: Maybe<User>;
  users: UserConnection;
};


export type QueryBroadcastArgs = {
  id: Scalars['ID']['input'];
};


export type QueryBroadcastsArgs = {
  after: InputMaybe<Scalars['String']['input']>;
  first: InputMaybe<Scalars['Int']['input']>;
};


export type QueryHistoryArgs = {
  after: InputMaybe<Scalars['String']['input']>;
  before: InputMaybe<Scalars['String']['input']>;
  filter: InputMaybe<NotificationFilter>;
  first: InputMaybe<Scalars['Int']['input']>;
  last: InputMaybe<Scalars['Int']['input']>;
  userId: InputMaybe<Scalars['ID']['input']>;
};


export type QueryInboxArgs = {
  userId: InputMaybe<Scalars['ID']['input']>;
};


export type QueryNodeArgs = {
  id: Scalars['ID']['input'];
};


export type QueryPreviewSegmentArgs = {
  segment: SegmentInput;
};


export type QueryTemplateArgs = {
  key: Scalars['String']['input'];
};


export type QueryUserArgs = {
  id: Scalars['ID']['input'];
};


export type QueryUsersArgs = {
  after: InputMaybe<Scalars['String']['input']>;
  first: InputMaybe<Scalars['Int']['input']>;
  segment: InputMaybe<SegmentInput>;
};

/** Exactly one field is set. Empty lists and `everyone: false` are BAD_USER_INPUT. A missing attribute makes a comparison false, and `not` turns it true. */
export type SegmentInput =
  { all: Array<SegmentInput>; any?: never; attribute?: never; everyone?: never; locales?: never; not?: never; userIds?: never; }
  |  { all?: never; any: Array<SegmentInput>; attribute?: never; everyone?: never; locales?: never; not?: never; userIds?: never; }
  |  { all?: never; any?: never; attribute: AttributeConditionInput; everyone?: never; locales?: never; not?: never; userIds?: never; }
  |  { all?: never; any?: never; attribute?: never; everyone: Scalars['Boolean']['input']; locales?: never; not?: never; userIds?: never; }
  |  { all?: never; any?: never; attribute?: never; everyone?: never; locales: Array<Scalars['String']['input']>; not?: never; userIds?: never; }
  |  { all?: never; any?: never; attribute?: never; everyone?: never; locales?: never; not: SegmentInput; userIds?: never; }
  |  /** Users of the directory. */
  { all?: never; any?: never; attribute?: never; everyone?: never; locales?: never; not?: never; userIds: Array<Scalars['ID']['input']>; };

export type SegmentPreview = {
  __typename?: 'SegmentPreview';
  sample: Array<User>;
  total: Scalars['Int']['output'];
};

export type SendError = {
  __typename?: 'SendError';
  code: Scalars['String']['output'];
  message: Scalars['String']['output'];
};

export type SendNotificationInput = {
  body?: InputMaybe<Scalars['String']['input']>;
  category: Scalars['String']['input'];
  data?: InputMaybe<Scalars['JSONObject']['input']>;
  expiresAt?: InputMaybe<Scalars['DateTime']['input']>;
  /**
   * Sending again with the same key within 24 hours returns the first notification and changes nothing, even if that
   * one has expired since. The same key with another input (compared after defaults, as canonical JSON) is the error
   * IDEMPOTENCY_CONFLICT. Keys are per sender (`sub`) and operation; 255 characters at most.
   */
  idempotencyKey?: InputMaybe<Scalars['String']['input']>;
  priority: Priority;
  title: Scalars['String']['input'];
  url?: InputMaybe<Scalars['String']['input']>;
  userId: Scalars['ID']['input'];
};

export type SendNotificationPayload = {
  __typename?: 'SendNotificationPayload';
  /** True where the idempotency key had been used before. */
  duplicate: Scalars['Boolean']['output'];
  notification: Notification;
};

/** One item's outcome: exactly one of the two is set. */
export type SendNotificationResult = {
  __typename?: 'SendNotificationResult';
  error: Maybe<SendError>;
  payload: Maybe<SendNotificationPayload>;
};

export type Subscription = {
  __typename?: 'Subscription';
  /** The broadcast at once, then at each change, once a second at most, ending when it has finished. Scope: `broadcasts:read`. */
  broadcastProgress: Broadcast;
  /** The same stream with state changes and counters, for an inbox that stays in step on every device. */
  inboxEvents: InboxEvent;
  /**
   * The caller's notifications. Without `after`: first every undelivered one, oldest first, then live.
   * With `after`: first every one after that cursor, acknowledged or not, then live. In order of `seq`, none
   * missing, none twice on one subscription, whatever fails in between. A stream may step over a seq whose notification
   * has expired, was retracted or (without `after`) was delivered before.
   * A client that reconnects gives its newest cursor in `connectionParams.after` (or `Last-Event-ID` over SSE); the later
   * of that and `after` counts, so that a library which repeats its first variables resumes all the same.
   * `autoAck`: the server acknowledges in the client's stead, as soon as the connection has answered a ping sent behind
   * the notification; over SSE once it is written, which a dying connection can lose. Otherwise the client acknowledges
   * with `markDelivered`, and what it did not acknowledge comes again on the next connection.
   * Errors, all final: CURSOR_EXPIRED (the notification after it is past the retention time), CURSOR_INVALID (not a
   * cursor of this user's log, or of a log that was restored since), UNAUTHENTICATED, BAD_USER_INPUT. Whatever may
   * pass ends no subscription: it is held open, or the connection is closed with a code that clients retry.
   */
  notifications: Notification;
};


export type SubscriptionBroadcastProgressArgs = {
  id: Scalars['ID']['input'];
};


export type SubscriptionInboxEventsArgs = {
  after: InputMaybe<Scalars['String']['input']>;
};


export type SubscriptionNotificationsArgs = {
  after: InputMaybe<Scalars['String']['input']>;
  autoAck?: Scalars['Boolean']['input'];
};

/** Title, body and url are Liquid; `user`, `userName` and `variables` are in scope. */
export type Template = Node & {
  __typename?: 'Template';
  defaultLocale: Scalars['String']['output'];
  id: Scalars['ID']['output'];
  key: Scalars['String']['output'];
  translations: Array<Translation>;
  updatedAt: Scalars['DateTime']['output'];
};

export type TemplateContentInput = {
  key: Scalars['String']['input'];
  variables?: InputMaybe<Scalars['JSONObject']['input']>;
};

export type TemplateInput = {
  defaultLocale: Scalars['String']['input'];
  key: Scalars['String']['input'];
  translations: Array<TranslationInput>;
};

export type Translation = {
  __typename?: 'Translation';
  body: Maybe<Scalars['String']['output']>;
  locale: Scalars['String']['output'];
  title: Scalars['String']['output'];
  url: Maybe<Scalars['String']['output']>;
};

export type TranslationInput = {
  body?: InputMaybe<Scalars['String']['input']>;
  locale: Scalars['String']['input'];
  title: Scalars['String']['input'];
  url?: InputMaybe<Scalars['String']['input']>;
};

/** A user as the sender knows them. Sending needs none: the directory serves segments, templates and push. */
export type User = {
  __typename?: 'User';
  attributes: Scalars['JSONObject']['output'];
  createdAt: Scalars['DateTime']['output'];
  id: Scalars['ID']['output'];
  /** BCP 47, such as `pt-BR`. */
  locale: Maybe<Scalars['String']['output']>;
  name: Maybe<Scalars['String']['output']>;
  /** IANA, such as `Europe/Lisbon`. */
  timeZone: Maybe<Scalars['String']['output']>;
  updatedAt: Scalars['DateTime']['output'];
};

export type UserConnection = {
  __typename?: 'UserConnection';
  edges: Array<UserEdge>;
  nodes: Array<User>;
  pageInfo: PageInfo;
};

export type UserEdge = {
  __typename?: 'UserEdge';
  cursor: Scalars['String']['output'];
  node: User;
};

export type UserInput = {
  attributes?: InputMaybe<Scalars['JSONObject']['input']>;
  id: Scalars['ID']['input'];
  locale?: InputMaybe<Scalars['String']['input']>;
  name?: InputMaybe<Scalars['String']['input']>;
  timeZone?: InputMaybe<Scalars['String']['input']>;
};



export type ResolverTypeWrapper<T> = Promise<T> | T;

export type Resolver<TResult, TParent = Record<PropertyKey, never>, TContext = Record<PropertyKey, never>, TArgs = Record<PropertyKey, never>> = ResolverFn<TResult, TParent, TContext, TArgs>;

export type ResolverFn<TResult, TParent, TContext, TArgs> = (
  parent: TParent,
  args: TArgs,
  context: TContext,
  info: GraphQLResolveInfo
) => Promise<TResult> | TResult;

export type SubscriptionSubscribeFn<TResult, TParent, TContext, TArgs> = (
  parent: TParent,
  args: TArgs,
  context: TContext,
  info: GraphQLResolveInfo
) => AsyncIterable<TResult> | Promise<AsyncIterable<TResult>>;

export type SubscriptionResolveFn<TResult, TParent, TContext, TArgs> = (
  parent: TParent,
  args: TArgs,
  context: TContext,
  info: GraphQLResolveInfo
) => TResult | Promise<TResult>;

export interface SubscriptionSubscriberObject<TResult, TKey extends string, TParent, TContext, TArgs> {
  subscribe: SubscriptionSubscribeFn<{ [key in TKey]: TResult }, TParent, TContext, TArgs>;
  resolve?: SubscriptionResolveFn<TResult, { [key in TKey]: TResult }, TContext, TArgs>;
}

export interface SubscriptionResolverObject<TResult, TParent, TContext, TArgs> {
  subscribe: SubscriptionSubscribeFn<any, TParent, TContext, TArgs>;
  resolve: SubscriptionResolveFn<TResult, any, TContext, TArgs>;
}

export type SubscriptionObject<TResult, TKey extends string, TParent, TContext, TArgs> =
  | SubscriptionSubscriberObject<TResult, TKey, TParent, TContext, TArgs>
  | SubscriptionResolverObject<TResult, TParent, TContext, TArgs>;

export type SubscriptionResolver<TResult, TKey extends string, TParent = Record<PropertyKey, never>, TContext = Record<PropertyKey, never>, TArgs = Record<PropertyKey, never>> =
  | ((...args: any[]) => SubscriptionObject<TResult, TKey, TParent, TContext, TArgs>)
  | SubscriptionObject<TResult, TKey, TParent, TContext, TArgs>;

export type TypeResolveFn<TTypes, TParent = Record<PropertyKey, never>, TContext = Record<PropertyKey, never>> = (
  parent: TParent,
  context: TContext,
  info: GraphQLResolveInfo
) => Maybe<TTypes> | Promise<Maybe<TTypes>>;

export type IsTypeOfResolverFn<T = Record<PropertyKey, never>, TContext = Record<PropertyKey, never>> = (obj: T, context: TContext, info: GraphQLResolveInfo) => boolean | Promise<boolean>;

export type NextResolverFn<T> = () => Promise<T>;

export type DirectiveResolverFn<TResult = Record<PropertyKey, never>, TParent = Record<PropertyKey, never>, TContext = Record<PropertyKey, never>, TArgs = Record<PropertyKey, never>> = (
  next: NextResolverFn<TResult>,
  parent: TParent,
  args: TArgs,
  context: TContext,
  info: GraphQLResolveInfo
) => TResult | Promise<TResult>;




/** Mapping of interface types */
export type ResolversInterfaceTypes<_RefType extends Record<string, unknown>> = {
  InboxEvent:
    | ( CaughtUpEvent )
    | ( NotificationReceivedEvent )
    | ( NotificationsRemovedEvent )
    | ( NotificationsUpdatedEvent )
  ;
  Node:
    | ( BroadcastState )
    | ( InboxState )
    | ( NotificationRow )
    | ( StoredTemplate )
  ;
};

/** Mapping between all available schema types and the resolvers types */
export type ResolversTypes = {
  AttributeConditionInput: AttributeConditionInput;
  AttributeOperator: AttributeOperator;
  AttributeValue: ResolverTypeWrapper<Scalars['AttributeValue']['output']>;
  Boolean: ResolverTypeWrapper<Scalars['Boolean']['output']>;
  Broadcast: ResolverTypeWrapper<BroadcastState>;
  BroadcastConnection: ResolverTypeWrapper<Omit<BroadcastConnection, 'edges' | 'nodes'> & { edges: Array<ResolversTypes['BroadcastEdge']>, nodes: Array<ResolversTypes['Broadcast']> }>;
  BroadcastEdge: ResolverTypeWrapper<Omit<BroadcastEdge, 'node'> & { node: ResolversTypes['Broadcast'] }>;
  BroadcastNotificationInput: BroadcastNotificationInput;
  BroadcastStatus: BroadcastStatus;
  CaughtUp: ResolverTypeWrapper<CaughtUpEvent>;
  ContentInput: ContentInput;
  DateTime: ResolverTypeWrapper<Scalars['DateTime']['output']>;
  Float: ResolverTypeWrapper<Scalars['Float']['output']>;
  ID: ResolverTypeWrapper<Scalars['ID']['output']>;
  Inbox: ResolverTypeWrapper<InboxState>;
  InboxEvent: ResolverTypeWrapper<ResolversInterfaceTypes<ResolversTypes>['InboxEvent']>;
  Int: ResolverTypeWrapper<Scalars['Int']['output']>;
  JSONObject: ResolverTypeWrapper<Scalars['JSONObject']['output']>;
  MarkNotificationsPayload: ResolverTypeWrapper<Omit<MarkNotificationsPayload, 'inbox' | 'notifications'> & { inbox: ResolversTypes['Inbox'], notifications: Array<ResolversTypes['Notification']> }>;
  Mutation: ResolverTypeWrapper<Record<PropertyKey, never>>;
  Node: ResolverTypeWrapper<AnyNode>;
  Notification: ResolverTypeWrapper<NotificationRow>;
  NotificationConnection: ResolverTypeWrapper<Omit<NotificationConnection, 'edges' | 'nodes'> & { edges: Array<ResolversTypes['NotificationEdge']>, nodes: Array<ResolversTypes['Notification']> }>;
  NotificationEdge: ResolverTypeWrapper<Omit<NotificationEdge, 'node'> & { node: ResolversTypes['Notification'] }>;
  NotificationFilter: NotificationFilter;
  NotificationReceived: ResolverTypeWrapper<NotificationReceivedEvent>;
  NotificationsRemoved: ResolverTypeWrapper<NotificationsRemovedEvent>;
  NotificationsUpdated: ResolverTypeWrapper<NotificationsUpdatedEvent>;
  PageInfo: ResolverTypeWrapper<PageInfo>;
  Priority: Priority;
  Query: ResolverTypeWrapper<Record<PropertyKey, never>>;
  SegmentInput: SegmentInput;
  SegmentPreview: ResolverTypeWrapper<Omit<SegmentPreview, 'sample'> & { sample: Array<ResolversTypes['User']> }>;
  SendError: ResolverTypeWrapper<SendError>;
  SendNotificationInput: SendNotificationInput;
  SendNotificationPayload: ResolverTypeWrapper<Omit<SendNotificationPayload, 'notification'> & { notification: ResolversTypes['Notification'] }>;
  SendNotificationResult: ResolverTypeWrapper<Omit<SendNotificationResult, 'payload'> & { payload?: Maybe<ResolversTypes['SendNotificationPayload']> }>;
  String: ResolverTypeWrapper<Scalars['String']['output']>;
  Subscription: ResolverTypeWrapper<Record<PropertyKey, never>>;
  Template: ResolverTypeWrapper<StoredTemplate>;
  TemplateContentInput: TemplateContentInput;
  TemplateInput: TemplateInput;
  Translation: ResolverTypeWrapper<StoredTranslation>;
  TranslationInput: TranslationInput;
  User: ResolverTypeWrapper<DirectoryUser>;
  UserConnection: ResolverTypeWrapper<Omit<UserConnection, 'edges' | 'nodes'> & { edges: Array<ResolversTypes['UserEdge']>, nodes: Array<ResolversTypes['User']> }>;
  UserEdge: ResolverTypeWrapper<Omit<UserEdge, 'node'> & { node: ResolversTypes['User'] }>;
  UserInput: UserInput;
};

/** Mapping between all available schema types and the resolvers parents */
export type ResolversParentTypes = {
  AttributeConditionInput: AttributeConditionInput;
  AttributeValue: Scalars['AttributeValue']['output'];
  Boolean: Scalars['Boolean']['output'];
  Broadcast: BroadcastState;
  BroadcastConnection: Omit<BroadcastConnection, 'edges' | 'nodes'> & { edges: Array<ResolversParentTypes['BroadcastEdge']>, nodes: Array<ResolversParentTypes['Broadcast']> };
  BroadcastEdge: Omit<BroadcastEdge, 'node'> & { node: ResolversParentTypes['Broadcast'] };
  BroadcastNotificationInput: BroadcastNotificationInput;
  CaughtUp: CaughtUpEvent;
  ContentInput: ContentInput;
  DateTime: Scalars['DateTime']['output'];
  Float: Scalars['Float']['output'];
  ID: Scalars['ID']['output'];
  Inbox: InboxState;
  InboxEvent: ResolversInterfaceTypes<ResolversParentTypes>['InboxEvent'];
  Int: Scalars['Int']['output'];
  JSONObject: Scalars['JSONObject']['output'];
  MarkNotificationsPayload: Omit<MarkNotificationsPayload, 'inbox' | 'notifications'> & { inbox: ResolversParentTypes['Inbox'], notifications: Array<ResolversParentTypes['Notification']> };
  Mutation: Record<PropertyKey, never>;
  Node: AnyNode;
  Notification: NotificationRow;
  NotificationConnection: Omit<NotificationConnection, 'edges' | 'nodes'> & { edges: Array<ResolversParentTypes['NotificationEdge']>, nodes: Array<ResolversParentTypes['Notification']> };
  NotificationEdge: Omit<NotificationEdge, 'node'> & { node: ResolversParentTypes['Notification'] };
  NotificationFilter: NotificationFilter;
  NotificationReceived: NotificationReceivedEvent;
  NotificationsRemoved: NotificationsRemovedEvent;
  NotificationsUpdated: NotificationsUpdatedEvent;
  PageInfo: PageInfo;
  Query: Record<PropertyKey, never>;
  SegmentInput: SegmentInput;
  SegmentPreview: Omit<SegmentPreview, 'sample'> & { sample: Array<ResolversParentTypes['User']> };
  SendError: SendError;
  SendNotificationInput: SendNotificationInput;
  SendNotificationPayload: Omit<SendNotificationPayload, 'notification'> & { notification: ResolversParentTypes['Notification'] };
  SendNotificationResult: Omit<SendNotificationResult, 'payload'> & { payload?: Maybe<ResolversParentTypes['SendNotificationPayload']> };
  String: Scalars['String']['output'];
  Subscription: Record<PropertyKey, never>;
  Template: StoredTemplate;
  TemplateContentInput: TemplateContentInput;
  TemplateInput: TemplateInput;
  Translation: StoredTranslation;
  TranslationInput: TranslationInput;
  User: DirectoryUser;
  UserConnection: Omit<UserConnection, 'edges' | 'nodes'> & { edges: Array<ResolversParentTypes['UserEdge']>, nodes: Array<ResolversParentTypes['User']> };
  UserEdge: Omit<UserEdge, 'node'> & { node: ResolversParentTypes['User'] };
  UserInput: UserInput;
};

export interface AttributeValueScalarConfig extends GraphQLScalarTypeConfig<ResolversTypes['AttributeValue'], any> {
  name: 'AttributeValue';
}

export type BroadcastResolvers<ContextType = Context, ParentType extends ResolversParentTypes['Broadcast'] = ResolversParentTypes['Broadcast']> = {
  category?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  createdAt?: Resolver<ResolversTypes['DateTime'], ParentType, ContextType>;
  error?: Resolver<Maybe<ResolversTypes['String']>, ParentType, ContextType>;
  failed?: Resolver<ResolversTypes['Int'], ParentType, ContextType>;
  finishedAt?: Resolver<Maybe<ResolversTypes['DateTime']>, ParentType, ContextType>;
  id?: Resolver<ResolversTypes['ID'], ParentType, ContextType>;
  priority?: Resolver<ResolversTypes['Priority'], ParentType, ContextType>;
  progress?: Resolver<ResolversTypes['Float'], ParentType, ContextType>;
  sent?: Resolver<ResolversTypes['Int'], ParentType, ContextType>;
  skipped?: Resolver<ResolversTypes['Int'], ParentType, ContextType>;
  startedAt?: Resolver<Maybe<ResolversTypes['DateTime']>, ParentType, ContextType>;
  status?: Resolver<ResolversTypes['BroadcastStatus'], ParentType, ContextType>;
  total?: Resolver<ResolversTypes['Int'], ParentType, ContextType>;
  __isTypeOf?: IsTypeOfResolverFn<ParentType, ContextType>;
};

export type BroadcastConnectionResolvers<ContextType = Context, ParentType extends ResolversParentTypes['BroadcastConnection'] = ResolversParentTypes['BroadcastConnection']> = {
  edges?: Resolver<Array<ResolversTypes['BroadcastEdge']>, ParentType, ContextType>;
  nodes?: Resolver<Array<ResolversTypes['Broadcast']>, ParentType, ContextType>;
  pageInfo?: Resolver<ResolversTypes['PageInfo'], ParentType, ContextType>;
};

export type BroadcastEdgeResolvers<ContextType = Context, ParentType extends ResolversParentTypes['BroadcastEdge'] = ResolversParentTypes['BroadcastEdge']> = {
  cursor?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  node?: Resolver<ResolversTypes['Broadcast'], ParentType, ContextType>;
};

export type CaughtUpResolvers<ContextType = Context, ParentType extends ResolversParentTypes['CaughtUp'] = ResolversParentTypes['CaughtUp']> = {
  cursor?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  inbox?: Resolver<ResolversTypes['Inbox'], ParentType, ContextType>;
  stateChanged?: Resolver<ResolversTypes['Boolean'], ParentType, ContextType>;
  __isTypeOf?: IsTypeOfResolverFn<ParentType, ContextType>;
};

export interface DateTimeScalarConfig extends GraphQLScalarTypeConfig<ResolversTypes['DateTime'], any> {
  name: 'DateTime';
}

export type InboxResolvers<ContextType = Context, ParentType extends ResolversParentTypes['Inbox'] = ResolversParentTypes['Inbox']> = {
  headCursor?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  id?: Resolver<ResolversTypes['ID'], ParentType, ContextType>;
  undeliveredCount?: Resolver<ResolversTypes['Int'], ParentType, ContextType>;
  unreadCount?: Resolver<ResolversTypes['Int'], ParentType, ContextType>;
  unseenCount?: Resolver<ResolversTypes['Int'], ParentType, ContextType>;
  userId?: Resolver<ResolversTypes['ID'], ParentType, ContextType>;
  __isTypeOf?: IsTypeOfResolverFn<ParentType, ContextType>;
};

export type InboxEventResolvers<ContextType = Context, ParentType extends ResolversParentTypes['InboxEvent'] = ResolversParentTypes['InboxEvent']> = {
  __resolveType: TypeResolveFn<'CaughtUp' | 'NotificationReceived' | 'NotificationsRemoved' | 'NotificationsUpdated', ParentType, ContextType>;
};

export interface JsonObjectScalarConfig extends GraphQLScalarTypeConfig<ResolversTypes['JSONObject'], any> {
  name: 'JSONObject';
}

export type MarkNotificationsPayloadResolvers<ContextType = Context, ParentType extends ResolversParentTypes['MarkNotificationsPayload'] = ResolversParentTypes['MarkNotificationsPayload']> = {
  count?: Resolver<ResolversTypes['Int'], ParentType, ContextType>;
  inbox?: Resolver<ResolversTypes['Inbox'], ParentType, ContextType>;
  notifications?: Resolver<Array<ResolversTypes['Notification']>, ParentType, ContextType>;
};

export type MutationResolvers<ContextType = Context, ParentType extends ResolversParentTypes['Mutation'] = ResolversParentTypes['Mutation']> = {
  archiveNotifications?: Resolver<ResolversTypes['MarkNotificationsPayload'], ParentType, ContextType, Partial<MutationArchiveNotificationsArgs>>;
  broadcastNotification?: Resolver<ResolversTypes['Broadcast'], ParentType, ContextType, RequireFields<MutationBroadcastNotificationArgs, 'input'>>;
  cancelBroadcast?: Resolver<ResolversTypes['Broadcast'], ParentType, ContextType, RequireFields<MutationCancelBroadcastArgs, 'id'>>;
  deleteTemplate?: Resolver<ResolversTypes['Boolean'], ParentType, ContextType, RequireFields<MutationDeleteTemplateArgs, 'key'>>;
  deleteUsers?: Resolver<ResolversTypes['Int'], ParentType, ContextType, RequireFields<MutationDeleteUsersArgs, 'ids'>>;
  markDelivered?: Resolver<ResolversTypes['MarkNotificationsPayload'], ParentType, ContextType, Partial<MutationMarkDeliveredArgs>>;
  markRead?: Resolver<ResolversTypes['MarkNotificationsPayload'], ParentType, ContextType, Partial<MutationMarkReadArgs>>;
  markSeen?: Resolver<ResolversTypes['MarkNotificationsPayload'], ParentType, ContextType, Partial<MutationMarkSeenArgs>>;
  markUnread?: Resolver<ResolversTypes['MarkNotificationsPayload'], ParentType, ContextType, RequireFields<MutationMarkUnreadArgs, 'ids'>>;
  retractNotification?: Resolver<ResolversTypes['Boolean'], ParentType, ContextType, RequireFields<MutationRetractNotificationArgs, 'id'>>;
  sendNotification?: Resolver<ResolversTypes['SendNotificationPayload'], ParentType, ContextType, RequireFields<MutationSendNotificationArgs, 'input'>>;
  sendNotifications?: Resolver<Array<ResolversTypes['SendNotificationResult']>, ParentType, ContextType, RequireFields<MutationSendNotificationsArgs, 'inputs'>>;
  unarchiveNotifications?: Resolver<ResolversTypes['MarkNotificationsPayload'], ParentType, ContextType, RequireFields<MutationUnarchiveNotificationsArgs, 'ids'>>;
  upsertTemplate?: Resolver<ResolversTypes['Template'], ParentType, ContextType, RequireFields<MutationUpsertTemplateArgs, 'input'>>;
  upsertUsers?: Resolver<ResolversTypes['Int'], ParentType, ContextType, RequireFields<MutationUpsertUsersArgs, 'users'>>;
};

export type NodeResolvers<ContextType = Context, ParentType extends ResolversParentTypes['Node'] = ResolversParentTypes['Node']> = {
  __resolveType: TypeResolveFn<'Broadcast' | 'Inbox' | 'Notification' | 'Template', ParentType, ContextType>;
};

export type NotificationResolvers<ContextType = Context, ParentType extends ResolversParentTypes['Notification'] = ResolversParentTypes['Notification']> = {
  archivedAt?: Resolver<Maybe<ResolversTypes['DateTime']>, ParentType, ContextType>;
  body?: Resolver<Maybe<ResolversTypes['String']>, ParentType, ContextType>;
  category?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  createdAt?: Resolver<ResolversTypes['DateTime'], ParentType, ContextType>;
  cursor?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  data?: Resolver<Maybe<ResolversTypes['JSONObject']>, ParentType, ContextType>;
  deliveredAt?: Resolver<Maybe<ResolversTypes['DateTime']>, ParentType, ContextType>;
  expiresAt?: Resolver<Maybe<ResolversTypes['DateTime']>, ParentType, ContextType>;
  id?: Resolver<ResolversTypes['ID'], ParentType, ContextType>;
  priority?: Resolver<ResolversTypes['Priority'], ParentType, ContextType>;
  readAt?: Resolver<Maybe<ResolversTypes['DateTime']>, ParentType, ContextType>;
  seenAt?: Resolver<Maybe<ResolversTypes['DateTime']>, ParentType, ContextType>;
  seq?: Resolver<ResolversTypes['Int'], ParentType, ContextType>;
  title?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  url?: Resolver<Maybe<ResolversTypes['String']>, ParentType, ContextType>;
  userId?: Resolver<ResolversTypes['ID'], ParentType, ContextType>;
  __isTypeOf?: IsTypeOfResolverFn<ParentType, ContextType>;
};

export type NotificationConnectionResolvers<ContextType = Context, ParentType extends ResolversParentTypes['NotificationConnection'] = ResolversParentTypes['NotificationConnection']> = {
  edges?: Resolver<Array<ResolversTypes['NotificationEdge']>, ParentType, ContextType>;
  nodes?: Resolver<Array<ResolversTypes['Notification']>, ParentType, ContextType>;
  pageInfo?: Resolver<ResolversTypes['PageInfo'], ParentType, ContextType>;
};

export type NotificationEdgeResolvers<ContextType = Context, ParentType extends ResolversParentTypes['NotificationEdge'] = ResolversParentTypes['NotificationEdge']> = {
  cursor?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  node?: Resolver<ResolversTypes['Notification'], ParentType, ContextType>;
};

export type NotificationReceivedResolvers<ContextType = Context, ParentType extends ResolversParentTypes['NotificationReceived'] = ResolversParentTypes['NotificationReceived']> = {
  cursor?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  inbox?: Resolver<ResolversTypes['Inbox'], ParentType, ContextType>;
  notification?: Resolver<ResolversTypes['Notification'], ParentType, ContextType>;
  __isTypeOf?: IsTypeOfResolverFn<ParentType, ContextType>;
};

export type NotificationsRemovedResolvers<ContextType = Context, ParentType extends ResolversParentTypes['NotificationsRemoved'] = ResolversParentTypes['NotificationsRemoved']> = {
  cursor?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  ids?: Resolver<Array<ResolversTypes['ID']>, ParentType, ContextType>;
  inbox?: Resolver<ResolversTypes['Inbox'], ParentType, ContextType>;
  __isTypeOf?: IsTypeOfResolverFn<ParentType, ContextType>;
};

export type NotificationsUpdatedResolvers<ContextType = Context, ParentType extends ResolversParentTypes['NotificationsUpdated'] = ResolversParentTypes['NotificationsUpdated']> = {
  cursor?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  inbox?: Resolver<ResolversTypes['Inbox'], ParentType, ContextType>;
  notifications?: Resolver<Array<ResolversTypes['Notification']>, ParentType, ContextType>;
  __isTypeOf?: IsTypeOfResolverFn<ParentType, ContextType>;
};

export type PageInfoResolvers<ContextType = Context, ParentType extends ResolversParentTypes['PageInfo'] = ResolversParentTypes['PageInfo']> = {
  endCursor?: Resolver<Maybe<ResolversTypes['String']>, ParentType, ContextType>;
  hasNextPage?: Resolver<ResolversTypes['Boolean'], ParentType, ContextType>;
  hasPreviousPage?: Resolver<ResolversTypes['Boolean'], ParentType, ContextType>;
  startCursor?: Resolver<Maybe<ResolversTypes['String']>, ParentType, ContextType>;
};

export type QueryResolvers<ContextType = Context, ParentType extends ResolversParentTypes['Query'] = ResolversParentTypes['Query']> = {
  broadcast?: Resolver<Maybe<ResolversTypes['Broadcast']>, ParentType, ContextType, RequireFields<QueryBroadcastArgs, 'id'>>;
  broadcasts?: Resolver<ResolversTypes['BroadcastConnection'], ParentType, ContextType, Partial<QueryBroadcastsArgs>>;
  history?: Resolver<ResolversTypes['NotificationConnection'], ParentType, ContextType, Partial<QueryHistoryArgs>>;
  inbox?: Resolver<ResolversTypes['Inbox'], ParentType, ContextType, Partial<QueryInboxArgs>>;
  node?: Resolver<Maybe<ResolversTypes['Node']>, ParentType, ContextType, RequireFields<QueryNodeArgs, 'id'>>;
  previewSegment?: Resolver<ResolversTypes['SegmentPreview'], ParentType, ContextType, RequireFields<QueryPreviewSegmentArgs, 'segment'>>;
  template?: Resolver<Maybe<ResolversTypes['Template']>, ParentType, ContextType, RequireFields<QueryTemplateArgs, 'key'>>;
  templates?: Resolver<Array<ResolversTypes['Template']>, ParentType, ContextType>;
  user?: Resolver<Maybe<ResolversTypes['User']>, ParentType, ContextType, RequireFields<QueryUserArgs, 'id'>>;
  users?: Resolver<ResolversTypes['UserConnection'], ParentType, ContextType, Partial<QueryUsersArgs>>;
};

export type SegmentPreviewResolvers<ContextType = Context, ParentType extends ResolversParentTypes['SegmentPreview'] = ResolversParentTypes['SegmentPreview']> = {
  sample?: Resolver<Array<ResolversTypes['User']>, ParentType, ContextType>;
  total?: Resolver<ResolversTypes['Int'], ParentType, ContextType>;
};

export type SendErrorResolvers<ContextType = Context, ParentType extends ResolversParentTypes['SendError'] = ResolversParentTypes['SendError']> = {
  code?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  message?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
};

export type SendNotificationPayloadResolvers<ContextType = Context, ParentType extends ResolversParentTypes['SendNotificationPayload'] = ResolversParentTypes['SendNotificationPayload']> = {
  duplicate?: Resolver<ResolversTypes['Boolean'], ParentType, ContextType>;
  notification?: Resolver<ResolversTypes['Notification'], ParentType, ContextType>;
};

export type SendNotificationResultResolvers<ContextType = Context, ParentType extends ResolversParentTypes['SendNotificationResult'] = ResolversParentTypes['SendNotificationResult']> = {
  error?: Resolver<Maybe<ResolversTypes['SendError']>, ParentType, ContextType>;
  payload?: Resolver<Maybe<ResolversTypes['SendNotificationPayload']>, ParentType, ContextType>;
};

export type SubscriptionResolvers<ContextType = Context, ParentType extends ResolversParentTypes['Subscription'] = ResolversParentTypes['Subscription']> = {
  broadcastProgress?: SubscriptionResolver<ResolversTypes['Broadcast'], "broadcastProgress", ParentType, ContextType, RequireFields<SubscriptionBroadcastProgressArgs, 'id'>>;
  inboxEvents?: SubscriptionResolver<ResolversTypes['InboxEvent'], "inboxEvents", ParentType, ContextType, Partial<SubscriptionInboxEventsArgs>>;
  notifications?: SubscriptionResolver<ResolversTypes['Notification'], "notifications", ParentType, ContextType, RequireFields<SubscriptionNotificationsArgs, 'autoAck'>>;
};

export type TemplateResolvers<ContextType = Context, ParentType extends ResolversParentTypes['Template'] = ResolversParentTypes['Template']> = {
  defaultLocale?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  id?: Resolver<ResolversTypes['ID'], ParentType, ContextType>;
  key?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  translations?: Resolver<Array<ResolversTypes['Translation']>, ParentType, ContextType>;
  updatedAt?: Resolver<ResolversTypes['DateTime'], ParentType, ContextType>;
  __isTypeOf?: IsTypeOfResolverFn<ParentType, ContextType>;
};

export type TranslationResolvers<ContextType = Context, ParentType extends ResolversParentTypes['Translation'] = ResolversParentTypes['Translation']> = {
  body?: Resolver<Maybe<ResolversTypes['String']>, ParentType, ContextType>;
  locale?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  title?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  url?: Resolver<Maybe<ResolversTypes['String']>, ParentType, ContextType>;
};

export type UserResolvers<ContextType = Context, ParentType extends ResolversParentTypes['User'] = ResolversParentTypes['User']> = {
  attributes?: Resolver<ResolversTypes['JSONObject'], ParentType, ContextType>;
  createdAt?: Resolver<ResolversTypes['DateTime'], ParentType, ContextType>;
  id?: Resolver<ResolversTypes['ID'], ParentType, ContextType>;
  locale?: Resolver<Maybe<ResolversTypes['String']>, ParentType, ContextType>;
  name?: Resolver<Maybe<ResolversTypes['String']>, ParentType, ContextType>;
  timeZone?: Resolver<Maybe<ResolversTypes['String']>, ParentType, ContextType>;
  updatedAt?: Resolver<ResolversTypes['DateTime'], ParentType, ContextType>;
};

export type UserConnectionResolvers<ContextType = Context, ParentType extends ResolversParentTypes['UserConnection'] = ResolversParentTypes['UserConnection']> = {
  edges?: Resolver<Array<ResolversTypes['UserEdge']>, ParentType, ContextType>;
  nodes?: Resolver<Array<ResolversTypes['User']>, ParentType, ContextType>;
  pageInfo?: Resolver<ResolversTypes['PageInfo'], ParentType, ContextType>;
};

export type UserEdgeResolvers<ContextType = Context, ParentType extends ResolversParentTypes['UserEdge'] = ResolversParentTypes['UserEdge']> = {
  cursor?: Resolver<ResolversTypes['String'], ParentType, ContextType>;
  node?: Resolver<ResolversTypes['User'], ParentType, ContextType>;
};

export type Resolvers<ContextType = Context> = {
  AttributeValue?: GraphQLScalarType;
  Broadcast?: BroadcastResolvers<ContextType>;
  BroadcastConnection?: BroadcastConnectionResolvers<ContextType>;
  BroadcastEdge?: BroadcastEdgeResolvers<ContextType>;
  CaughtUp?: CaughtUpResolvers<ContextType>;
  DateTime?: GraphQLScalarType;
  Inbox?: InboxResolvers<ContextType>;
  InboxEvent?: InboxEventResolvers<ContextType>;
  JSONObject?: GraphQLScalarType;
  MarkNotificationsPayload?: MarkNotificationsPayloadResolvers<ContextType>;
  Mutation?: MutationResolvers<ContextType>;
  Node?: NodeResolvers<ContextType>;
  Notification?: NotificationResolvers<ContextType>;
  NotificationConnection?: NotificationConnectionResolvers<ContextType>;
  NotificationEdge?: NotificationEdgeResolvers<ContextType>;
  NotificationReceived?: NotificationReceivedResolvers<ContextType>;
  NotificationsRemoved?: NotificationsRemovedResolvers<ContextType>;
  NotificationsUpdated?: NotificationsUpdatedResolvers<ContextType>;
  PageInfo?: PageInfoResolvers<ContextType>;
  Query?: QueryResolvers<ContextType>;
  SegmentPreview?: SegmentPreviewResolvers<ContextType>;
  SendError?: SendErrorResolvers<ContextType>;
  SendNotificationPayload?: SendNotificationPayloadResolvers<ContextType>;
  SendNotificationResult?: SendNotificationResultResolvers<ContextType>;
  Subscription?: SubscriptionResolvers<ContextType>;
  Template?: TemplateResolvers<ContextType>;
  Translation?: TranslationResolvers<ContextType>;
  User?: UserResolvers<ContextType>;
  UserConnection?: UserConnectionResolvers<ContextType>;
  UserEdge?: UserEdgeResolvers<ContextType>;
};

