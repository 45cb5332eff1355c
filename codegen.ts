import type { CodegenConfig } from '@graphql-codegen/cli'

// The resolver types. What a resolver returns are the slices' own types (mappers), so a resolver hands over what its
// verb gave it and the field resolvers of the type do the rest.
const config: CodegenConfig = {
  schema: 'schema/*.graphql',
  generates: {
    'src/graphql/generated.ts': {
      plugins: ['typescript', 'typescript-resolvers'],
      config: {
        useTypeImports: true,
        enumsAsTypes: true,
        emitLegacyCommonJSImports: false,
        importExtension: '.ts',
        avoidOptionals: { field: true, inputValue: false, object: true, defaultValue: true },
        inputMaybeValue: 'T | null | undefined',
        defaultScalarType: 'unknown',
        makeResolverTypeCallable: true,
        contextType: './context.ts#Context',
        scalars: {
          ID: { input: 'string', output: 'string' },
          DateTime: { input: 'number', output: 'number' },
          JSONObject: {
            input: '../json.ts#JsonObject',
            output: '../json.ts#JsonObject',
          },
          AttributeValue: { input: '../users/segment.ts#AttributeValue', output: '../users/segment.ts#AttributeValue' },
        },
        mappers: {
          Node: './node.ts#AnyNode',
          Notification: '../notifications/notification.ts#Notification as NotificationRow',
          Inbox: '../notifications/notification.ts#InboxState',
          Template: '../templates/template.ts#Template as StoredTemplate',
          Translation: '../templates/template.ts#Translation as StoredTranslation',
          User: '../users/user.ts#User as DirectoryUser',
          Broadcast: '../broadcasts/broadcast.ts#Broadcast as BroadcastState',
          NotificationReceived: '../notifications/events.ts#NotificationReceived as NotificationReceivedEvent',
          NotificationsUpdated: '../notifications/events.ts#NotificationsUpdated as NotificationsUpdatedEvent',
          NotificationsRemoved: '../notifications/events.ts#NotificationsRemoved as NotificationsRemovedEvent',
          CaughtUp: '../notifications/events.ts#CaughtUp as CaughtUpEvent',
        },
      },
    },
  },
}

export default config
