// npm run demo: what Lifeboat is for, on real servers that the demonstration gets and ends by itself.
//   npm run demo               PostgreSQL and Redis, recovery points in a directory
//   npm run demo -- --s3       the same, recovery points on a real S3 server
//   npm run demo -- --stack    all of a stack: also S3, search, Kafka, ZooKeeper and Loki
//   npm run demo -- --pitr     a shop that never rests is brought back to the second before a mistake

if (process.argv.includes('--pitr')) await import('./pitr.ts');
else if (process.argv.includes('--stack')) await import('./stack.ts');
else await import('./pair.ts');
